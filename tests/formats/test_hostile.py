"""Damaged and hostile .tflite files end in one clear error, quickly and without large allocation.

Every mutated file either is refused with a `ModelError` or reads as a legal graph.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.data import shared_models
from tests.graphs import random_graph
from tests.oracle.test_moves import MOVES, moving
from tests.passes.clumsy import clumsy_graph
from toolchain.errors import ModelError
from toolchain.exporters.tflite import export_tflite
from toolchain.importers import ModelWarning
from toolchain.importers.tflite import import_tflite
from toolchain.passes import simplify

_INTERESTING = (0, 1, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1)

Mutation = Callable[[bytes, np.random.Generator, int], Iterator[bytes]]


def seeds() -> list[bytes]:
    """Return small files that hold every operator between them."""
    graphs = [random_graph(np.random.default_rng(seed)) for seed in range(6)]
    graphs += [clumsy_graph(np.random.default_rng(seed)) for seed in range(4)]
    return [export_tflite(graph) for graph in graphs]


def byte_flips(data: bytes, rng: np.random.Generator, count: int) -> Iterator[bytes]:
    for _ in range(count):
        damaged = bytearray(data)
        for place in rng.integers(0, len(data), int(rng.integers(1, 6))):
            damaged[place] = int(rng.integers(256))
        yield bytes(damaged)


def truncations(data: bytes, rng: np.random.Generator, count: int) -> Iterator[bytes]:
    for length in rng.integers(0, len(data), count):
        yield data[:length]


def tampered_words(data: bytes, rng: np.random.Generator, count: int) -> Iterator[bytes]:
    """Replace aligned words, which are offsets, lengths, shapes and indices, by nasty values."""
    for _ in range(count):
        damaged = bytearray(data)
        place = int(rng.integers(2, len(data) // 4)) * 4
        old = struct.unpack_from("<I", data, place)[0]
        near = (old + int(rng.integers(-16, 17))) % 2**32
        value = near if rng.integers(2) else int(rng.choice(_INTERESTING))
        struct.pack_into("<I", damaged, place, value)
        yield bytes(damaged)


def tampered_headers(data: bytes, rng: np.random.Generator, count: int) -> Iterator[bytes]:
    """Exchange 16-bit words, which vtables consist of, with one another."""
    for _ in range(count):
        damaged = bytearray(data)
        first, second = (int(place) * 2 for place in rng.integers(4, len(data) // 2, 2))
        damaged[first : first + 2], damaged[second : second + 2] = (
            data[second : second + 2],
            data[first : first + 2],
        )
        yield bytes(damaged)


MUTATIONS = (byte_flips, truncations, tampered_words, tampered_headers)


def read(data: bytes) -> bool:
    """Read, simplify and lower a file; tell whether it was accepted. Only E2xx may be raised."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ModelWarning)
        try:
            graph = simplify(import_tflite(data, "fuzz"), check=True)
            for node in graph.nodes:
                node.op.lower(graph.operands(node))
        except ModelError as error:
            refusal = error
        else:
            return True
    assert refusal.code.startswith("E2")
    assert len(refusal.what) < 20_000
    return False


@pytest.mark.slow
@pytest.mark.parametrize("mutate", MUTATIONS, ids=lambda m: m.__name__)
def test_mutated_files_are_refused_or_read(mutate: Mutation) -> None:
    rng = np.random.default_rng(0)
    accepted = [read(data) for seed in seeds() for data in mutate(seed, rng, 100)]
    assert not all(accepted)


@pytest.mark.slow
@pytest.mark.parametrize("code", MOVES)
def test_mutated_moves_are_refused_or_read(code: str) -> None:
    rng = np.random.default_rng(0)
    files = [moving(code, rng)[0] for _ in range(4)]
    accepted = [read(d) for mutate in MUTATIONS for file in files for d in mutate(file, rng, 60)]
    assert not all(accepted)


@pytest.mark.parametrize("mutate", MUTATIONS, ids=lambda m: m.__name__)
def test_a_few_mutated_files_are_refused_or_read(mutate: Mutation) -> None:
    rng = np.random.default_rng(1)
    accepted = [read(data) for data in mutate(seeds()[0], rng, 50)]
    assert not all(accepted)


@pytest.mark.slow
@pytest.mark.parametrize("path", shared_models(), ids=lambda p: p.name)
def test_mutated_real_files_are_refused_or_read(path: Path) -> None:
    rng = np.random.default_rng(2)
    data = path.read_bytes()
    for mutate in MUTATIONS:
        for damaged in mutate(data, rng, 8):
            read(damaged)
