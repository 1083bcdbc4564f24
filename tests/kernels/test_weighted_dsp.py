"""The DSP kernels: emulated Cortex-M4, and their portable text under the sanitizer, are exact."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.kernels.random_weighted import (
    activation,
    layer,
    random_column,
    random_conv,
    random_depthwise,
    random_depthwise_by,
    random_fully_connected,
    random_pixel,
    random_pointwise,
    random_steep,
    stride,
)
from tests.kernels.sanitized import assert_portable_text_is_exact
from tests.ops.harness import CASES, assert_c_equals_reference
from toolchain.ir import Graph
from toolchain.kernels import Isa, candidates
from toolchain.kernels.base import integer
from toolchain.kernels.conv_dsp import Geometry
from toolchain.kernels.depthwise_dsp import DepthwiseDsp
from toolchain.kernels.depthwise_pairs_dsp import DepthwisePairsDsp
from toolchain.ops import DepthwiseConv2D
from toolchain.ops.spatial import Pads
from toolchain.plan import LayerStage, plan_layers

Make = Callable[[np.random.Generator], Graph]
MAKERS = [random_conv, random_pointwise, random_depthwise, random_fully_connected]
NARROW = [random_pixel, random_column, random_steep]
BY_PAIRS = [DepthwisePairsDsp(), DepthwisePairsDsp("depthwise_pairs_lean_dsp", lanes=1)]


def variants(make: Make) -> Counter[tuple[object, ...]]:
    """Count which helpers of which kernels the random layers need."""
    seen: Counter[tuple[object, ...]] = Counter()
    for seed in range(CASES):
        graph = make(np.random.default_rng(seed))
        lowered = graph.nodes[0].op.lower(graph.operands(graph.nodes[0]))
        kernel = candidates(lowered, Isa.DSP)[0]
        special = kernel.specialise(lowered)
        for helper in special.helpers:
            numbers = dict(helper.numbers)
            if helper.template == "plane_dsp":
                numbers["rest"] = numbers["narrow"], integer(special.numbers, "out_w") % 4
            keys = ("mode", "pixels", "odd", "pairs", "tail", "rest", "common")
            seen[(kernel.name, *(numbers.get(key) for key in keys))] += 1
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("make", [*MAKERS, *NARROW])
def test_the_emulated_core_is_exact(make: Make, tmp_path: Path) -> None:
    assert_c_equals_reference(make, tmp_path, isa=Isa.DSP)


@pytest.mark.slow
def test_the_depthwise_kernel_by_planes_is_exact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("toolchain.kernels._SPECIAL", (DepthwiseDsp(),))
    assert_c_equals_reference(random_depthwise, tmp_path, isa=Isa.DSP)


@pytest.mark.slow
@pytest.mark.parametrize("kernel", BY_PAIRS, ids=lambda kernel: kernel.name)
def test_pairs_of_rows_are_exact_on_the_emulated_core_and_as_portable_text(
    kernel: DepthwisePairsDsp,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("toolchain.kernels._SPECIAL", (kernel,))
    make = partial(random_depthwise_by, kernel.lanes)
    assert_c_equals_reference(make, tmp_path / "emulated", isa=Isa.DSP)
    assert_portable_text_is_exact(make, Isa.DSP, tmp_path / "here")
    assert "runtime error" not in capfd.readouterr().err


@pytest.mark.parametrize("kernel", BY_PAIRS, ids=lambda kernel: kernel.name)
def test_the_random_layers_reach_all_of_pairs_of_rows(kernel: DepthwisePairsDsp) -> None:
    modes, heights, parities = set(), set(), set()
    for seed in range(CASES):
        graph = random_depthwise_by(kernel.lanes, np.random.default_rng(seed))
        lowered = graph.nodes[0].op.lower(graph.operands(graph.nodes[0]))
        if not kernel.supports(lowered):
            continue
        (helper,) = kernel.specialise(lowered).helpers
        (height, width), numbers = Geometry.of(lowered.numbers).kernel, helper.numbers
        modes |= {numbers["mode"], numbers["w_zero"]}
        heights.add(height)
        parities.add((height % 2, width % 2, integer(numbers, "stride_w") % 2))
    assert modes == {"lean", "linear", "signed", "general", False, True}
    assert heights == {1, 2, 3, 5, 7}
    assert parities == set(itertools.product((0, 1), repeat=3))


def random_small_depthwise(rng: np.random.Generator) -> Graph:
    """Return a layer that the rolling kernel can run, or, rarely, one that it must refuse."""
    channels, kernel = int(rng.integers(1, 6)), tuple(int(k) for k in rng.integers(1, 4, 2))
    pads = [int(rng.integers(0, k)) for k in np.repeat(kernel, 2)]
    op = DepthwiseConv2D(stride(rng), (1, 1), Pads(*pads), activation(rng))
    space = (int(k + rng.integers(0, 20)) for k in kernel)
    return layer(rng, op, (1, *space, channels), (1, *kernel, channels), 3)


@pytest.mark.slow
def test_the_rolling_depthwise_kernel_is_exact(tmp_path: Path) -> None:
    assert_c_equals_reference(random_small_depthwise, tmp_path, isa=Isa.DSP)


def test_the_random_layers_reach_all_of_the_rolling_kernel() -> None:
    graphs = [random_small_depthwise(np.random.default_rng(seed)) for seed in range(CASES)]
    found = [plan_layers(graph, Isa.DSP).stages[0] for graph in graphs]
    kernels = [stage.kernel for stage in found if isinstance(stage, LayerStage)]
    assert kernels.count("depthwise_rolling_dsp") > CASES // 2


@pytest.mark.slow
@pytest.mark.parametrize("make", [*MAKERS, *NARROW])
def test_the_portable_text_is_exact_and_defined(
    make: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert_portable_text_is_exact(make, Isa.DSP, tmp_path)
    assert "runtime error" not in capfd.readouterr().err


@pytest.mark.parametrize("make", MAKERS)
def test_the_random_layers_reach_every_formula(make: Make) -> None:
    modes = {variant[1] for variant in variants(make)}
    assert modes == {"lean", "linear", "signed", "general"}


def test_the_random_layers_reach_every_block() -> None:
    seen = Counter[tuple[object, ...]]()
    for make in MAKERS:
        seen += variants(make)
    matmuls = {(v[2], v[3]) for v in seen if v[2] is not None}
    assert matmuls == {(pixels, odd) for pixels in (1, 2, 3) for odd in (0, 1)}
    vectors = {(v[4], v[3], v[5]) for v in seen if v[4] is not None}
    assert vectors == {(p, o, t) for p, o in ((1, 0), (1, 1), (2, 0)) for t in (False, True)}
    planes = {v[6] for v in seen if v[6] is not None}
    assert planes == {*((0, rest) for rest in range(4)), (1, 1), (2, 2), (3, 3)}


@pytest.mark.parametrize("make", [random_fully_connected, random_pixel])
def test_vectors_reach_every_formula_with_one_scale_and_with_many(make: Make) -> None:
    modes = {(variant[1], variant[7]) for variant in variants(make) if variant[7] is not None}
    every = {("lean", False), ("linear", False), ("linear", True)}
    assert modes == every | {(mode, c) for mode in ("signed", "general") for c in (False, True)}


def test_the_narrow_layers_reach_their_kernels() -> None:
    pixels, columns = variants(random_pixel), variants(random_column)
    assert sum(pixels[v] for v in pixels if v[0] == "conv1x1_pixel_dsp") > CASES
    assert sum(columns[v] for v in columns if v[0] == "depthwise_column_dsp") > CASES // 2
    assert {(v[1], v[3]) for v in columns if v[0] == "depthwise_column_dsp"} == {
        (mode, odd) for mode in ("lean", "linear", "signed", "general") for odd in (0, 1)
    }
