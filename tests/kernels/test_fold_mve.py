"""Fully connected layers whose map comes row by row, on the vector extension."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.kernels.random_weighted import activation, layer, with_one_scale
from tests.kernels.sanitized import assert_portable_text_is_exact
from tests.kernels.vector_board import wrong_seeds
from tests.plan.row_by_row import row_by_row
from toolchain.ir import Graph
from toolchain.kernels import Isa
from toolchain.ops import FullyConnected
from toolchain.plan.rows import row_work

SEEDS = range(60)


def random_fold(rng: np.random.Generator) -> Graph:
    """Return a fully connected layer behind a map of several rows."""
    channels = int(rng.choice([1, 3, 8, 16, 20, 32]))
    shape = (1, int(rng.integers(2, 6)), int(rng.integers(1, 5)), channels)
    depth, units = int(np.prod(shape)), int(rng.integers(1, 14))
    graph = layer(rng, FullyConnected(activation(rng)), shape, (units, depth))
    return graph if rng.random() < 0.5 else with_one_scale(graph)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("qemu-system-arm"), reason="needs QEMU")
def test_the_emulated_core_is_exact(tmp_path: Path) -> None:
    assert not wrong_seeds(random_fold, tmp_path, SEEDS, row_by_row)


@pytest.mark.slow
def test_the_portable_text_is_exact_and_defined(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert_portable_text_is_exact(random_fold, Isa.MVE, tmp_path, SEEDS, row_by_row)
    assert "runtime error" not in capfd.readouterr().err


def test_the_random_folds_reach_every_formula_and_row() -> None:
    formulas, groups, rows = set(), set(), set()
    for seed in SEEDS:
        graph = random_fold(np.random.default_rng(seed))
        work = row_work(graph, graph.nodes[0], Isa.MVE)
        assert work is not None
        assert work.kernel == "fully_connected_fold_mve"
        numbers = work.special.numbers
        formulas.add((numbers["mode"], numbers["common"]))
        groups.add((numbers["rest"], work.operands.output.size > 4))
        depth = work.operands.input(0).size // work.operands.input(0).shape[1]
        rows.add((depth >= 16, depth % 16 > 0))
    assert {("fine", True), ("fine", False), ("signed", True), ("signed", False)} <= formulas
    assert {mode for mode, _ in formulas} == {"fine", "signed", "general"}
    assert groups == {(rest, several) for rest in range(4) for several in (False, True)}
    assert rows == {(False, True), (True, True), (True, False)}
