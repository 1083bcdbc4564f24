"""Pools and means on the DSP extension are exact: emulated, and as portable text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.kernels.sanitized import assert_portable_text_is_exact
from tests.kernels.test_map_mve import random_channels_mean, random_channels_pool
from tests.ops.harness import assert_c_equals_reference
from toolchain.ir import Graph
from toolchain.kernels import Isa, candidates

SEEDS = range(120)


def any_pool(rng: np.random.Generator) -> Graph:
    return (random_channels_mean if rng.random() < 0.25 else random_channels_pool)(rng)


@pytest.mark.slow
def test_the_emulated_core_is_exact(tmp_path: Path) -> None:
    assert_c_equals_reference(any_pool, tmp_path, len(SEEDS), isa=Isa.DSP)


@pytest.mark.slow
def test_the_portable_text_is_exact_and_defined(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert_portable_text_is_exact(any_pool, Isa.DSP, tmp_path, SEEDS)
    assert "runtime error" not in capfd.readouterr().err


def test_the_random_graphs_reach_every_kernel() -> None:
    seen = set()
    for seed in SEEDS:
        graph = any_pool(np.random.default_rng(seed))
        lowered = graph.nodes[0].op.lower(graph.operands(graph.nodes[0]))
        seen.add(candidates(lowered, Isa.DSP)[0].name)
    portable = {"average_pool2d", "max_pool2d", "mean"}
    assert seen == portable | {f"{name}_dsp" for name in portable}
