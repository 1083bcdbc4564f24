"""Flash as estimated, against what linked firmware takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.networks import wake_word
from boards import load_board
from codegen.estimate import estimate_flash
from codegen.model import build_model
from codegen.project import project_files
from nas.layer_list import Block, LayerList, build_graph
from runtimes.toolchains import build_firmware, gcc
from toolchain.ir import Graph
from toolchain.kernels import Isa
from toolchain.passes import simplify
from toolchain.plan import plan_layers

BOARDS = ("emulator_m0plus_16m", "emulator_m4_16m", "qemu_an547")


def alike() -> Graph:
    """Return a network of many blocks, most of whose kernels layers share."""
    sizes = ((48, 24, 10), (72, 24, 10), (120, 40, 16), (160, 40, 16), (240, 56, 24))
    rows = (
        Block(middle, out, kernel, 1, residual=False, squeeze=gate)
        for middle, out, gate in sizes
        for kernel in (3, 5)
    )
    return simplify(build_graph(LayerList("alike", (32, 32), 3, (3, 2, 16), tuple(rows), 96, 10)))


@pytest.mark.slow
@pytest.mark.skipif(gcc() is None, reason="the constants are those of GCC's code")
@pytest.mark.parametrize("board_id", BOARDS)
@pytest.mark.parametrize("draw", [wake_word, alike])
def test_code_is_estimated_within_a_quarter(
    draw: Callable[[], Graph], board_id: str, tmp_path: Path
) -> None:
    graph, board = draw(), load_board(board_id)
    plan = plan_layers(graph, Isa[board.isa.upper()])
    firmware = build_firmware(project_files(graph, plan, board, name="model"), board, tmp_path)
    tables = sum(table.data.nbytes for table in build_model(graph, plan, "model").tables)
    code = firmware.flash_bytes - tables
    assert estimate_flash(graph, plan) - tables == pytest.approx(code, rel=0.25)
