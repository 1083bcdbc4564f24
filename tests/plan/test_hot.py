"""Hot weights: the ones read most lie in RAM, copied there at start; the outputs stay the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile

from boards import Board, load_board
from codegen.model import build_model
from codegen.project import project_files
from nas.layer_list import Block, LayerList, build_graph
from runtimes.emulator.emulator import Emulator
from runtimes.toolchains import Firmware, Toolchain, build_firmware, gcc, zig
from tests.plan.test_banks import two_large_maps
from toolchain.errors import FitError
from toolchain.ir import Graph, run
from toolchain.passes import simplify
from toolchain.plan import Plan, check_plan, plan_from_json, plan_model, plan_to_json
from toolchain.plan.fit import fit
from toolchain.plan.heat import with_hot_weights
from toolchain.plan.hot import hot_bytes, node_constants
from toolchain.plan.plan import ARENA, Hot

BOARD = load_board("nucleo_f446re")


def network() -> Graph:
    """Return a network whose first weights are read for many pixels, its last ones once."""
    blocks = (Block(0, 8, 3, 1, residual=False), Block(24, 16, 3, 2, residual=False))
    return simplify(build_graph(LayerList("hot", (24, 20), 3, (3, 2, 8), blocks, 32, 10)))


def planned(most_bytes: int) -> tuple[Graph, Plan]:
    graph = network()
    return graph, with_hot_weights(graph, plan_model(graph, BOARD), BOARD, most_bytes)


def test_hot_weights_keep_to_their_budget_and_more_of_it_holds_more() -> None:
    taken = []
    for most in (0, 100, 400, 1000, 10**6):
        graph, plan = planned(most)
        taken.append(sum(hot_bytes(graph, plan).values()))
        assert taken[-1] <= most
        assert fit(graph, plan, BOARD, flash_bytes=0).hot == hot_bytes(graph, plan)
        assert plan_from_json(plan_to_json(check_plan(graph, plan))) == plan
    assert taken == sorted(taken)
    assert taken[0] == 0 < taken[2] < taken[-1]


def test_the_weights_with_the_most_work_per_byte_come_first() -> None:
    graph, plan = planned(400)
    convolutions = [node.name for node in graph.nodes if "conv" in node.op.name]
    hot = {hot.node for hot in plan.hot}
    assert convolutions[0] in hot
    assert not any(n.op.name == "fully_connected" and n.name in hot for n in graph.nodes)


@pytest.mark.parametrize("hot", [("nobody",), ("first", "first")])
def test_a_plan_with_wrong_hot_weights_is_refused(hot: tuple[str, ...]) -> None:
    graph, plan = planned(0)
    names = (graph.nodes[0].name if name == "first" else name for name in hot)
    hot_nodes = tuple(Hot(name, ARENA) for name in names)
    with pytest.raises(FitError, match="has no weights, or is named twice"):
        check_plan(graph, replace(plan, hot=hot_nodes))


def test_hot_weights_are_read_from_ram_and_change_no_output(tmp_path: Path) -> None:
    graph, plan = planned(1000)
    files = project_files(graph, plan, BOARD, name="model")
    firmware = build_firmware(files, BOARD, tmp_path)
    tables = build_model(graph, plan, "model").tables
    places = elf_places(firmware)
    ram = range(BOARD.ram.start, BOARD.ram.start + BOARD.ram.size)
    hot = [table for table in tables if places[table.name] in ram]
    assert hot == [table for table in tables if table.hot]
    assert 0 < len(hot) < len(tables)
    assert sum(table.data.nbytes for table in hot) <= hot_bytes(graph, plan)[ARENA]
    emulator = Emulator(firmware, BOARD, graph, plan.hash)
    shape = graph.input_tensors[0].shape
    for seed in range(2):
        inputs = [np.random.default_rng(seed).integers(-128, 128, shape, np.int8)]
        np.testing.assert_array_equal(emulator.run(inputs).outputs, run(graph, inputs))


def elf_places(firmware: Firmware) -> dict[str, int]:
    with firmware.elf.open("rb") as stream:
        table = ELFFile(stream).get_section_by_name(".symtab")
        return {symbol.name: symbol["st_value"] for symbol in table.iter_symbols()}


@pytest.mark.parametrize(
    ("name", "most_bytes", "region", "toolchain"),
    [
        ("nucleo_h743zi", 2000, "DTCM", gcc()),
        ("generic_stm32f405rg", 2000, "CCM", gcc()),
        ("generic_stm32f405rg", 2000, "CCM", zig()),
    ],
)
def test_fast_memory_holds_hot_weights(
    name: str, most_bytes: int, region: str, toolchain: Toolchain | None, tmp_path: Path
) -> None:
    board, graph = load_board(name), network()
    plan = check_plan(
        graph, with_hot_weights(graph, plan_model(graph, board), board, most_bytes), board
    )
    assert {hot.region for hot in plan.hot} == {region}
    files = project_files(graph, plan, board, name="model")
    firmware = build_firmware(files, board, tmp_path, toolchain)
    places = elf_places(firmware)
    bank = next(block for block in board.regions if block.name == region)
    hot = [table for table in build_model(graph, plan, "model").tables if table.region]
    assert hot
    for table in hot:
        assert bank.start <= places[table.name] < bank.end
    emulator = Emulator(firmware, board, graph, plan.hash)
    for seed in range(2):
        inputs = [np.random.default_rng(seed).integers(-128, 128, (1, 24, 20, 3), np.int8)]
        np.testing.assert_array_equal(emulator.run(inputs).outputs, run(graph, inputs))


def fast_board(fast_bytes: int) -> Board:
    """Return a Cortex-M7 whose tightly coupled memory has so many bytes."""
    board = load_board("nucleo_h743zi")
    regions = (replace(r, size=fast_bytes) if r.name == "DTCM" else r for r in board.regions)
    return replace(board, regions=tuple(regions))


def test_fast_memory_is_shared_by_what_is_read_most_per_byte() -> None:
    """A filter is read for every pixel; the second map is written once and read once."""
    graph = two_large_maps(20)
    board = fast_board(plan_model(graph, BOARD).arena_bytes)
    alone = plan_model(graph, board)
    assert set(alone.regions) == {"DTCM"}
    plan = check_plan(graph, with_hot_weights(graph, alone, board, 1 << 20), board)
    assert plan.arena_bytes <= alone.arena_bytes
    second = plan.slot_of(graph.nodes[0].outputs[0])
    assert (plan.slot_of("x").region, second.region) == ("DTCM", ARENA)
    assert {hot.node: hot.region for hot in plan.hot}[graph.nodes[0].name] == "DTCM"
    assert fit(graph, plan, board, flash_bytes=0).fits


def test_hot_weights_that_leave_fast_memory_are_refused() -> None:
    graph, board = network(), fast_board(4096)
    plan = plan_model(graph, board)
    hot = tuple(Hot(one.node, "DTCM") for one in node_constants(graph, plan))
    with pytest.raises(FitError, match=r"of hot weights and .* do not fit in the 4096 of DTCM"):
        check_plan(graph, replace(plan, hot=hot), board)
