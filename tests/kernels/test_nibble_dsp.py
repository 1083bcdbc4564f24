"""4-bit weights on the DSP extension: emulated Cortex-M4, and the portable text, are exact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from tests.kernels.random_weighted import (
    random_conv,
    random_fully_connected,
    random_pointwise,
)
from tests.kernels.sanitized import assert_portable_text_is_exact
from tests.ops.four_bits import narrowed
from tests.ops.harness import CASES, assert_c_equals_reference
from toolchain.ir import Graph
from toolchain.kernels import Isa, candidates
from toolchain.kernels.nibble_packing import pack_pairs

Make = Callable[[np.random.Generator], Graph]
MAKERS = [
    partial(narrowed, make) for make in (random_conv, random_pointwise, random_fully_connected)
]


@pytest.mark.slow
@pytest.mark.parametrize("make", MAKERS)
def test_the_emulated_core_is_exact(make: Make, tmp_path: Path) -> None:
    assert_c_equals_reference(make, tmp_path, isa=Isa.DSP)


@pytest.mark.slow
@pytest.mark.parametrize("make", MAKERS)
def test_the_portable_text_is_exact_and_defined(
    make: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert_portable_text_is_exact(make, Isa.DSP, tmp_path, range(60))
    assert "runtime error" not in capfd.readouterr().err


def test_the_random_layers_reach_every_formula_and_block() -> None:
    kernels: Counter[str] = Counter()
    seen, formulas = set(), set()
    for make, seed in product(MAKERS, range(CASES)):
        graph = make(np.random.default_rng(seed))
        lowered = graph.nodes[0].op.lower(graph.operands(graph.nodes[0]))
        kernel = candidates(lowered, Isa.DSP)[0]
        kernels[kernel.name] += 1
        for helper in kernel.specialise(lowered).helpers:
            keys = ("pixels", "pairs")
            seen |= {(key, helper.numbers[key]) for key in keys if key in helper.numbers}
            formulas.add((helper.numbers["mode"], helper.numbers["common"]))
    # Of one scale, lines have a common C of any size; else the formula "linear" serves larger
    # biases than sums with 4-bit weights may have.
    assert {mode for mode, common in formulas if not common} == {"lean", "signed", "general"}
    assert {mode for mode, common in formulas if common} == {"linear", "signed", "general"}
    assert {value for key, value in seen if key == "pixels"} == {1, 2, 3}
    assert {value for key, value in seen if key == "pairs"} == {1, 2}
    fast = ("conv1x1_w4_dsp", "conv2d_w4_dsp", "fully_connected_w4_dsp")
    assert min(kernels[name] for name in fast) > CASES // 3


def test_sums_that_could_overflow_are_left_to_the_portable_kernel() -> None:
    tables = {"bias": np.zeros(2, np.int32), "multiplier": np.full(2, 2**30, np.int32)}
    tables["shift"] = np.full(2, -10, np.int8)
    numbers = {"x_zero": 0, "y_zero": 0, "y_min": -128, "y_max": 127}
    assert pack_pairs(np.full((2, 508), -8), tables, numbers) is not None
    assert pack_pairs(np.full((2, 512), -8), tables, numbers) is None
