"""The portable kernels that multiply runs of inputs, with Armv6-M's assembly, are exact."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.kernels import random_weighted
from tests.kernels.sanitized import assert_portable_text_is_exact
from tests.ops import test_conv2d, test_fully_connected
from tests.ops.harness import CASES, assert_c_equals_reference
from toolchain.ir import Graph
from toolchain.kernels import Isa, candidates
from toolchain.ops import Conv2D, FullyConnected
from toolchain.ops.spatial import Pads

BOARD = "emulator_m0plus_16m"


def random_wide(rng: np.random.Generator) -> Graph:
    """Return a layer of many filters."""
    depth, filters = int(rng.integers(1, 40)), int(rng.integers(16, 40))
    if rng.random() < 0.5:
        shape = (filters, depth)
        return random_weighted.layer(rng, FullyConnected(), (2, depth), shape)
    op = Conv2D(pads=Pads(1, 0, 0, 1), activation=random_weighted.activation(rng))
    return random_weighted.layer(rng, op, (1, 3, 4, depth), (filters, 2, 2, depth))


# The last two also make groups and multipliers above 1.
MAKERS: list[Callable[[np.random.Generator], Graph]] = [
    random_weighted.random_conv,
    random_weighted.random_pointwise,
    random_weighted.random_fully_connected,
    random_wide,
    test_conv2d.random_conv,
    test_fully_connected.random_fully_connected,
]


def any_layer(rng: np.random.Generator) -> Graph:
    graph = MAKERS[int(rng.integers(len(MAKERS)))](rng)
    return random_weighted.with_weight_zero_point(graph, rng) if rng.random() < 0.5 else graph


@pytest.mark.slow
def test_the_emulated_core_is_exact(tmp_path: Path) -> None:
    assert_c_equals_reference(any_layer, tmp_path, 2 * CASES, board_id=BOARD)


@pytest.mark.slow
def test_the_portable_text_is_exact_and_defined(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert_portable_text_is_exact(any_layer, Isa.PORTABLE, tmp_path)
    assert "runtime error" not in capfd.readouterr().err


def test_the_random_layers_reach_every_variant() -> None:
    seen, groups = set(), set()
    for seed in range(2 * CASES):
        graph = any_layer(np.random.default_rng(seed))
        lowered = graph.nodes[0].op.lower(graph.operands(graph.nodes[0]))
        kernel = candidates(lowered, Isa.PORTABLE)[0]
        for helper in kernel.specialise(lowered).helpers:
            groups.add(tuple(helper.numbers[key] for key in ("eights", "fours", "ones")))
            literals = helper.numbers
            seen.add((literals["common"], kernel.name, literals["mode"], literals["w_zero"] != 0))
    kernels = ("conv2d_runs", "fully_connected_runs")
    modes = ("linear", "signed", "general")
    one_scale = set(itertools.product((True,), kernels, modes, (False, True)))
    each_its_own = set(itertools.product((False,), kernels, ("lean", *modes), (False,)))
    assert seen >= one_scale | each_its_own
    # Weights with a zero point have one scale, but not always one line.
    assert all(zero for common, *_, zero in seen - each_its_own if not common)
    some = itertools.product((False, True), repeat=3)
    assert groups == {group for group in some if any(group)}
