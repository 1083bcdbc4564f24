"""Portable kernels and whole networks on an emulated RV32IMC are exact."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from codegen.golden import golden_sums
from tests.data import shared_data
from tests.kernels.test_runs import any_layer
from tests.ops.random_pool import random_pool
from tests.ops.test_16x8 import MAKERS as WIDE_MAKERS
from tests.ops.test_add import random_add
from tests.ops.test_average_pool2d import legacy_or_not
from tests.ops.test_depthwise_conv2d import random_depthwise
from tests.ops.test_int4 import MAKERS as NIBBLE_MAKERS
from tests.ops.test_logistic import random_logistic
from tests.ops.test_mean import random_mean
from tests.ops.test_mul import random_mul
from tests.ops.test_pad import random_pad
from tests.ops.test_resize_nearest import random_resize_nearest
from tests.ops.test_softmax import random_softmax
from tests.ops.test_transpose_conv import random_transpose_conv
from tests.runtimes.rv32 import QEMU, compilers, golden_on_rv32
from toolchain.importers import import_model
from toolchain.ir import Graph
from toolchain.ops import MaxPool2D
from toolchain.passes import simplify

EXAMPLE = Path(__file__).parents[2] / "examples/digits/digits.tflite"
MAKERS: list[Callable[[np.random.Generator], Graph]] = [
    any_layer,
    random_depthwise,
    random_transpose_conv,
    random_add,
    random_mul,
    random_mean,
    legacy_or_not,
    partial(random_pool, MaxPool2D),
    random_pad,
    random_resize_nearest,
    random_softmax,
    random_logistic,
    *WIDE_MAKERS.values(),
    *NIBBLE_MAKERS.values(),
]
CASES = 8 * len(MAKERS)
pytestmark = pytest.mark.skipif(shutil.which(QEMU) is None, reason=f"{QEMU} is not installed")


@pytest.fixture(params=list(compilers()))
def compiler(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return compilers()[str(request.param)]


def assert_exact(graphs: dict[str, Graph], compiler: tuple[str, ...], folder: Path) -> None:
    got = golden_on_rv32(graphs, compiler, folder)
    for graph in graphs.values():
        for crc in golden_sums(graph)[0]:
            assert next(got) == crc, graph.nodes
    assert next(got, None) is None


def integers_only(graph: Graph) -> bool:
    return all(tensor.dtype.numpy.kind == "i" for tensor in graph.tensors.values())


@pytest.mark.slow
def test_kernels_are_exact(compiler: tuple[str, ...], tmp_path: Path) -> None:
    makers = [MAKERS[seed % len(MAKERS)] for seed in range(CASES)]
    generators = [np.random.default_rng(seed) for seed in range(CASES)]
    pairs = zip(makers, generators, strict=True)
    graphs = {f"case{seed}": make(rng) for seed, (make, rng) in enumerate(pairs)}
    # Random bytes are no good floats.
    whole = {name: g for name, g in graphs.items() if integers_only(g)}
    assert len(whole) > CASES * 3 // 4
    assert_exact(whole, compiler, tmp_path)


@pytest.mark.slow
def test_weighted_kernels_are_exact(compiler: tuple[str, ...], tmp_path: Path) -> None:
    graphs = {f"case{seed}": any_layer(np.random.default_rng(seed)) for seed in range(200)}
    assert_exact(graphs, compiler, tmp_path)


def test_networks_are_exact(compiler: tuple[str, ...], tmp_path: Path) -> None:
    folder = shared_data()
    known = ("kws_ref_model", "vww_96_int8", "pretrainedResnet_quant", "ad01_int8")
    paths = [folder / f"models/mlperf_tiny/{name}.tflite" for name in known] if folder else []
    graphs = {p.stem: simplify(import_model(p)) for p in (EXAMPLE, *paths) if p.is_file()}
    assert_exact(graphs, compiler, tmp_path)
