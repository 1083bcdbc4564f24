"""The DSP kernels: emulated Cortex-M4, and their portable text under the sanitizer, are exact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.kernels.random_weighted import (
    random_conv,
    random_depthwise,
    random_fully_connected,
    random_pointwise,
)
from tests.kernels.sanitized import assert_portable_text_is_exact
from tests.ops.harness import CASES, assert_c_equals_reference
from toolchain.ir import Graph
from toolchain.kernels import Isa, candidates
from toolchain.kernels.depthwise_dsp import DepthwiseDsp

Make = Callable[[np.random.Generator], Graph]
MAKERS = [random_conv, random_pointwise, random_depthwise, random_fully_connected]


def variants(make: Make) -> Counter[tuple[object, ...]]:
    """Count which helpers of which kernels the random layers need."""
    seen: Counter[tuple[object, ...]] = Counter()
    for seed in range(CASES):
        graph = make(np.random.default_rng(seed))
        lowered = graph.nodes[0].op.lower(graph.operands(graph.nodes[0]))
        kernel = candidates(lowered, Isa.DSP)[0]
        for helper in kernel.specialise(lowered).helpers:
            keys = ("mode", "pixels", "odd", "pairs", "tail", "rest")
            seen[(kernel.name, *(helper.numbers.get(key) for key in keys))] += 1
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("make", MAKERS)
def test_the_emulated_core_is_exact(make: Make, tmp_path: Path) -> None:
    assert_c_equals_reference(make, tmp_path, isa=Isa.DSP)


@pytest.mark.slow
def test_the_depthwise_kernel_for_single_rows_is_exact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    single = DepthwiseDsp("depthwise_row_dsp", scratch=0)
    monkeypatch.setattr("toolchain.kernels._SPECIAL", (single,))
    assert_c_equals_reference(random_depthwise, tmp_path, isa=Isa.DSP)


@pytest.mark.slow
@pytest.mark.parametrize("make", MAKERS)
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
    assert {v[6] for v in seen if v[6] is not None} == {0, 1, 2, 3}
