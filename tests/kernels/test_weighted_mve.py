"""The vector kernels are exact: on an emulated Cortex-M55, and as portable text."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.kernels.random_weighted import (
    random_channels,
    random_conv,
    random_fully_connected,
    random_pointwise,
)
from tests.kernels.sanitized import assert_portable_text_is_exact
from tests.kernels.vector_board import wrong_seeds
from toolchain.ir import Graph
from toolchain.kernels import Isa, candidates

Make = Callable[[np.random.Generator], Graph]
MATRIX_MAKERS = [random_conv, random_pointwise, random_fully_connected]
SEEDS = range(60)  # what fits the machine's code memory
MAKERS = [*MATRIX_MAKERS, random_channels]


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
            seen[tuple(helper.numbers[key] for key in ("mode", "pixels", "rest"))] += 1
    assert {mode for mode, _, _ in seen} == {"linear", "signed", "general"}
    pixels = (1,) if make is random_fully_connected else (1, 2)
    assert {variant[1:] for variant in seen} == {(p, rest) for p in pixels for rest in range(4)}


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
    assert {mode for mode, _, _ in seen} == {"linear", "signed", "general"}
    assert {variant[1:] for variant in seen} == {
        (channels, edges) for channels in (3, 8, 16, 20, 32, 40) for edges in (False, True)
    }
