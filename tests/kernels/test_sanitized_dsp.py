"""Every kernel for the DSP extension runs as portable text under the sanitizer somewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.kernels import (
    test_apart_dsp,
    test_nibble_dsp,
    test_parts_dsp,
    test_pool_dsp,
    test_weighted_dsp,
    test_wide_dsp,
)
from tests.kernels.sanitized import assert_portable_text_is_exact
from tests.ops.recurrent import dsp_kernels, watched
from tests.ops.test_lstm import random_lstm
from tests.ops.test_svdf import perhaps_without_bias
from tests.plan import test_fed_vectors
from toolchain.ir import Graph
from toolchain.kernels import Isa, all_kernels

Make = Callable[[np.random.Generator], Graph]
SEEDS = range(60)


def recurrent(rng: np.random.Generator) -> Graph:
    return watched((random_lstm if rng.integers(2) else perhaps_without_bias)(rng))


@pytest.mark.slow
def test_the_portable_text_of_recurrent_layers_is_exact_and_defined(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert_portable_text_is_exact(recurrent, Isa.DSP, tmp_path, SEEDS)
    assert "runtime error" not in capfd.readouterr().err


def test_the_sanitized_graphs_reach_every_kernel() -> None:
    makers: list[Make] = [
        *test_weighted_dsp.MAKERS,
        *test_weighted_dsp.NARROW,
        *test_nibble_dsp.MAKERS,
        *(test_wide_dsp.moderate(make) for make in test_wide_dsp.MAKERS.values()),
        test_apart_dsp.any_layer,
        test_pool_dsp.any_pool,
        recurrent,
    ]
    # These run there: one by one, and in streams.
    seen = {kernel.name for kernel in test_parts_dsp.KERNELS} | set(test_fed_vectors.KERNELS)
    seen |= set[str]().union(*(dsp_kernels(make, len(SEEDS)) for make in makers))
    assert {kernel.name for kernel in all_kernels() if kernel.isa is Isa.DSP} <= seen
