"""The vector kernels are exact: on an emulated Cortex-M55, and as portable text."""

from __future__ import annotations

import itertools
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.kernels.random_weighted import (
    activation,
    layer,
    random_channels,
    random_conv,
    random_fully_connected,
    random_pixel,
    random_pointwise,
    random_steep,
)
from tests.kernels.sanitized import assert_portable_text_is_exact
from tests.kernels.vector_board import wrong_seeds
from toolchain.ir import Graph
from toolchain.kernels import Isa, candidates
from toolchain.kernels.depthwise_mve import DepthwiseInPlaceMve
from toolchain.ops import DepthwiseConv2D
from toolchain.ops.spatial import Pads
from toolchain.plan import LayerStage, plan_layers

Make = Callable[[np.random.Generator], Graph]
MATRIX_MAKERS = [random_conv, random_pointwise, random_fully_connected, random_pixel]
SEEDS = range(60)  # what fits the machine's code memory
IN_PLACE_SEEDS = range(30)
MAKERS = [*MATRIX_MAKERS, random_channels, random_steep]


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("qemu-system-arm"), reason="needs QEMU")
@pytest.mark.parametrize("make", MAKERS)
def test_the_emulated_core_is_exact(make: Make, tmp_path: Path) -> None:
    assert not wrong_seeds(make, tmp_path, SEEDS)


@pytest.mark.slow
@pytest.mark.parametrize("make", MAKERS)
def test_the_portable_text_is_exact_and_defined(
    make: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert_portable_text_is_exact(make, Isa.MVE, tmp_path, SEEDS)
    assert "runtime error" not in capfd.readouterr().err


@pytest.mark.parametrize("make", MATRIX_MAKERS)
def test_the_random_layers_reach_every_formula_and_block(make: Make) -> None:
    seen: Counter[tuple[object, ...]] = Counter()
    for seed in SEEDS:
        graph = make(np.random.default_rng(seed))
        lowered = graph.nodes[0].op.lower(graph.operands(graph.nodes[0]))
        kernel = candidates(lowered, Isa.MVE)[0]
        assert kernel.isa is Isa.MVE
        for helper in kernel.specialise(lowered).helpers:
            keys = "mode", "pixels", "rest", "common"
            seen[tuple(helper.numbers[key] for key in keys)] += 1
    modes = {"fine", "signed", "general"}
    assert {mode for mode, *_ in seen} == modes
    assert modes >= {mode for mode, *_, common in seen if common} >= {"fine", "signed"}
    pixels = (1,) if make in {random_fully_connected, random_pixel} else (1, 2)
    assert {variant[1:3] for variant in seen} == {(p, rest) for p in pixels for rest in range(4)}


def test_the_random_layers_reach_pixels_alone_shifts_to_the_left_and_columns_of_padding() -> None:
    alone, steep, columns = 0, Counter[str](), 0
    for make, seed in itertools.product((random_pixel, random_steep, random_conv), SEEDS):
        graph = make(np.random.default_rng(seed))
        lowered = graph.nodes[0].op.lower(graph.operands(graph.nodes[0]))
        kernel = candidates(lowered, Isa.MVE)[0]
        special = kernel.specialise(lowered)
        numbers = special.numbers
        if kernel.name == "conv1x1_mve":
            alone += not numbers["copied"]
        if make is random_steep:
            steep[kernel.name] += bool(lowered.tables["shift"].max() > 0)
        if kernel.name == "conv2d_mve" and numbers["edges"] and not numbers["pad_rows"]:
            columns += numbers["dilation_w"] != 1
    assert alone
    assert columns
    assert {"conv2d_mve", "conv1x1_mve", "fully_connected_mve"} <= set(+steep)


def test_the_random_depthwise_layers_reach_every_formula_and_group() -> None:
    seen: Counter[tuple[object, ...]] = Counter()
    for seed in SEEDS:
        graph = random_channels(np.random.default_rng(seed))
        lowered = graph.nodes[0].op.lower(graph.operands(graph.nodes[0]))
        kernel = candidates(lowered, Isa.MVE)[0]
        assert kernel.isa is Isa.MVE
        special = kernel.specialise(lowered)
        if kernel.name == "depthwise_conv2d_mve":  # that of one channel is a convolution
            seen[special.numbers["mode"], special.numbers["in_c"], "padding" in special.tables] += 1
    assert {mode for mode, _, _ in seen} == {"fine", "signed", "general"}
    assert {variant[1:] for variant in seen} == {
        (channels, edges) for channels in (3, 8, 16, 20, 32, 40) for edges in (False, True)
    }


def random_map_in_place(rng: np.random.Generator) -> Graph:
    """Return a depthwise convolution whose output fits where its input lies."""
    channels, kernel = int(rng.choice([3, 16, 20])), tuple(int(k) for k in rng.integers(1, 6, 2))
    before = [int(rng.integers(0, k)) for k in kernel]
    after = [int(rng.integers(0, k - b)) for k, b in zip(kernel, before, strict=True)]
    pads = Pads(before[0], after[0], before[1], after[1])
    op = DepthwiseConv2D((1, int(rng.choice([1, 1, 2]))), (1, 1), pads, activation(rng))
    size = (int(k + rng.integers(1, 6)) for k in kernel)
    return layer(rng, op, (1, *size, channels), (1, *kernel, channels), 3)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("qemu-system-arm"), reason="needs QEMU")
def test_maps_in_place_are_exact_on_the_emulated_core(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("toolchain.kernels._SPECIAL", (DepthwiseInPlaceMve(),))
    assert not wrong_seeds(random_map_in_place, tmp_path, IN_PLACE_SEEDS)


@pytest.mark.slow
def test_maps_in_place_are_exact_and_defined_as_portable_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("toolchain.kernels._SPECIAL", (DepthwiseInPlaceMve(),))
    assert_portable_text_is_exact(random_map_in_place, Isa.MVE, tmp_path, IN_PLACE_SEEDS)
    assert "runtime error" not in capfd.readouterr().err


def test_the_random_maps_lie_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolchain.kernels._SPECIAL", (DepthwiseInPlaceMve(),))
    pads = set()
    for seed in IN_PLACE_SEEDS:
        graph = random_map_in_place(np.random.default_rng(seed))
        plan = plan_layers(graph, Isa.MVE)
        (stage,) = plan.stages
        assert isinstance(stage, LayerStage)
        assert stage.kernel == "depthwise_in_place_mve"
        offsets = {slot.name: slot.offset for slot in plan.slots}
        assert offsets.get("y", offsets["x"]) == offsets["x"]
        op = graph.nodes[0].op
        assert isinstance(op, DepthwiseConv2D)
        pads.add(op.pads.top)
    assert pads == {0, 1, 2, 3, 4}
