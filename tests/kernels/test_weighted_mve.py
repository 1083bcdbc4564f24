"""The vector kernels are exact: on an emulated Cortex-M55, and as portable text."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.kernels.random_weighted import random_conv, random_fully_connected, random_pointwise
from tests.kernels.sanitized import assert_portable_text_is_exact
from tests.kernels.vector_board import wrong_seeds
from tests.ops.harness import CASES
from toolchain.ir import Graph
from toolchain.kernels import Isa, candidates

Make = Callable[[np.random.Generator], Graph]
MAKERS = [random_conv, random_pointwise, random_fully_connected]


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("qemu-system-arm"), reason="needs QEMU")
@pytest.mark.parametrize("make", MAKERS)
def test_the_emulated_core_is_exact(make: Make, tmp_path: Path) -> None:
    assert not wrong_seeds(make, tmp_path, range(CASES // 2))  # as the code memory holds


@pytest.mark.slow
@pytest.mark.parametrize("make", MAKERS)
def test_the_portable_text_is_exact_and_defined(
    make: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert_portable_text_is_exact(make, Isa.MVE, tmp_path)
    assert "runtime error" not in capfd.readouterr().err


@pytest.mark.parametrize("make", MAKERS)
def test_the_random_layers_reach_every_formula_and_block(make: Make) -> None:
    seen: Counter[tuple[object, ...]] = Counter()
    for seed in range(CASES):
        graph = make(np.random.default_rng(seed))
        lowered = graph.nodes[0].op.lower(graph.operands(graph.nodes[0]))
        kernel = candidates(lowered, Isa.MVE)[0]
        assert kernel.isa is Isa.MVE
        for helper in kernel.specialise(lowered).helpers:
            seen[tuple(helper.numbers[key] for key in ("mode", "pixels", "rest"))] += 1
    assert {mode for mode, _, _ in seen} == {"linear", "signed", "general"}
    pixels = (1,) if make is random_fully_connected else (1, 2)
    assert {variant[1:] for variant in seen} == {(p, rest) for p in pixels for rest in range(4)}
