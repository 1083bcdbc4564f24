"""Operators of a file that move elements, read as chains of ours, against TFLite Micro."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from tests.formats.files import write
from tests.ops.random_unary import random_quant
from tests.oracle.runtimes import Micro, Reference, RefusedError
from toolchain.exporters.tflite_writer import Record
from toolchain.importers.tflite import import_tflite
from toolchain.importers.tflite_options import READERS
from toolchain.ir import DType, Tensor, constant, run
from toolchain.passes import simplify

Rng = np.random.Generator
CASES = 40


class Move:
    """A random operator on int8: its shapes, parameters and options.

    Attributes:
        x: shape of the input.
        y: shape of the output.
        parameters: int32 inputs behind the first.
        options: name of the table and its fields.
    """

    def __init__(self, x: Any, y: Any, *parameters: Any, table: str = "", **fields: int) -> None:
        self.x, self.y = (tuple(int(n) for n in shape) for shape in (x, y))
        self.parameters, self.table, self.fields = parameters, table, fields


def shape_of(rng: Rng, rank: int = 4) -> list[int]:
    return [int(n) for n in rng.integers(1, 6, rank)]


def space_to_batch(rng: Rng) -> Move:
    x, block = shape_of(rng, int(rng.integers(3, 5))), rng.integers(1, 4, 2)
    block = block[: len(x) - 2]
    low = rng.integers(0, 4, len(block))
    more = rng.integers(0, 2, len(block))
    sizes = zip(x[1:], low, block, more, strict=False)
    high = [-(n + p) % b + b * whole for n, p, b, whole in sizes]
    size = [(n + p + q) // b for n, p, q, b in zip(x[1:], low, high, block, strict=False)]
    made = [x[0] * int(np.prod(block)), *size, x[-1]]
    return Move(x, made, block, np.stack([low, high], 1))


def batch_to_space(rng: Rng) -> Move:
    x, block = shape_of(rng), rng.integers(1, 4, 2)
    whole = [n * b for n, b in zip(x[1:], block, strict=False)]
    low = [int(rng.integers(0, n)) for n in whole]
    high = [int(rng.integers(0, n - p)) for n, p in zip(whole, low, strict=True)]
    made = [x[0], *(n - p - q for n, p, q in zip(whole, low, high, strict=True)), x[3]]
    x[0] *= int(np.prod(block))
    return Move(x, made, block, np.stack([low, high], 1))


def space_to_depth(rng: Rng) -> Move:
    (n, h, w, c), size = shape_of(rng), int(rng.integers(1, 4))
    fields = {"table": "SpaceToDepthOptions", "BlockSize": size}
    return Move((n, h * size, w * size, c), (n, h, w, c * size**2), **fields)


def depth_to_space(rng: Rng) -> Move:
    (n, h, w, c), size = shape_of(rng), int(rng.integers(1, 4))
    fields = {"table": "DepthToSpaceOptions", "BlockSize": size}
    return Move((n, h, w, c * size**2), (n, h * size, w * size, c), **fields)


def mirror_pad(rng: Rng) -> Move:
    x, mode = shape_of(rng, int(rng.integers(1, 5))), int(rng.integers(2))
    pads = np.array([rng.integers(0, n + mode, 2) for n in x])
    made = np.array(x) + pads.sum(1)
    return Move(x, made, pads, table="MirrorPadOptions", Mode=mode)


def tile(rng: Rng) -> Move:
    x, counts = shape_of(rng, 3), rng.integers(1, 4, 3)
    return Move(x, x * counts, counts)


def broadcast_to(rng: Rng) -> Move:
    made = shape_of(rng)
    x = [n if rng.random() < 0.5 else 1 for n in made][int(rng.integers(3)) :]
    return Move(x, made, made)


def reverse(rng: Rng) -> Move:
    x = shape_of(rng)
    first = int(rng.integers(4))
    return Move(x, x, list(range(first, int(rng.integers(first, 4)) + 1)))


def slice_(rng: Rng) -> Move:
    x = shape_of(rng)
    begin = [int(rng.integers(n)) for n in x]
    size = [int(rng.integers(1, n - low + 1)) for n, low in zip(x, begin, strict=True)]
    given = [-1 if low + m == n else m for n, low, m in zip(x, begin, size, strict=True)]
    return Move(x, size, begin, given)


def gather(rng: Rng) -> Move:
    x = shape_of(rng, 3)
    axis = int(rng.integers(3))
    places = [(), (1,), (4,), (2, 3)][int(rng.integers(4))]
    indices = rng.integers(0, x[axis], places)
    made = (*x[:axis], *places, *x[axis + 1 :])
    return Move(x, made, indices, table="GatherOptions", Axis=axis)


MOVES: Mapping[str, tuple[Callable[[Rng], Move], int]] = {
    "BATCH_TO_SPACE_ND": (batch_to_space, 2),
    "BROADCAST_TO": (broadcast_to, 3),
    "DEPTH_TO_SPACE": (depth_to_space, 1),
    "GATHER": (gather, 3),
    "MIRROR_PAD": (mirror_pad, 2),
    "REVERSE_V2": (reverse, 3),
    "SLICE": (slice_, 2),
    "SPACE_TO_BATCH_ND": (space_to_batch, 2),
    "SPACE_TO_DEPTH": (space_to_depth, 1),
    "TILE": (tile, 2),
}


# TFLite Micro pads with 0 whatever the zero point.
ORACLES = {"SPACE_TO_BATCH_ND": (Reference,)}


def moving(code: str, rng: Rng) -> tuple[bytes, tuple[int, ...]]:
    """Return a file of one operator, and the shape of its input."""
    make, version = MOVES[code]
    one, quant = make(rng), random_quant(rng)
    x, y = (Tensor(n, s, DType.INT8, quant) for n, s in (("x", one.x), ("y", one.y)))
    given = [
        constant(f"p{i}", np.array(values, np.int32)) for i, values in enumerate(one.parameters)
    ]
    names = ("x", *(tensor.name for tensor in given))
    record = Record(code, version, names, ("y",), one.table, one.fields)
    return write([x, *given, y], [record], ["x"], ["y"]), one.x


@pytest.mark.parametrize("code", MOVES)
def test_a_move_equals_the_runtime(code: str) -> None:
    compared = 0
    for seed in range(CASES):
        rng = np.random.default_rng(seed)
        data, shape = moving(code, rng)
        values = rng.integers(-128, 128, shape, dtype=np.int8)
        for oracle in ORACLES.get(code, (Micro, Reference)):
            try:
                (want,) = oracle(data).run([values], 1)
            except RefusedError:
                continue
            graph = import_tflite(data, "move")
            for one in (graph, simplify(graph)):
                np.testing.assert_array_equal(
                    run(one, [values])[0],
                    want.reshape(graph.output_tensors[0].shape),
                    err_msg=f"seed {seed}",
                )
            compared += 1
    assert compared >= CASES // 2


def test_every_chain_meets_a_runtime() -> None:
    chains = {code for code, reader in READERS.items() if reader.read.__module__.endswith("moves")}
    assert chains == MOVES.keys()
