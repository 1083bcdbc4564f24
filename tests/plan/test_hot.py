"""Hot weights: the ones read most lie in RAM, copied there at start; the outputs stay the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile

from boards import load_board
from codegen.model import build_model
from codegen.project import project_files
from nas.layer_list import Block, LayerList, build_graph
from runtimes.emulator.emulator import Emulator
from runtimes.toolchains import build_firmware
from toolchain.errors import FitError
from toolchain.ir import Graph, run
from toolchain.passes import simplify
from toolchain.plan import Plan, check_plan, plan_from_json, plan_model, plan_to_json
from toolchain.plan.fit import fit
from toolchain.plan.hot import hot_bytes, with_hot_weights

BOARD = load_board("nucleo_f446re")


def network() -> Graph:
    """Return a network whose first weights are read for many pixels, its last ones once."""
    blocks = (Block(0, 8, 3, 1, residual=False), Block(24, 16, 3, 2, residual=False))
    return simplify(build_graph(LayerList("hot", (24, 20), 3, (3, 2, 8), blocks, 32, 10)))


def planned(most_bytes: int) -> tuple[Graph, Plan]:
    graph = network()
    return graph, with_hot_weights(graph, plan_model(graph, BOARD), most_bytes)


def test_hot_weights_keep_to_their_budget_and_more_of_it_holds_more() -> None:
    taken = []
    for most in (0, 100, 400, 1000, 10**6):
        graph, plan = planned(most)
        taken.append(hot_bytes(graph, plan))
        assert taken[-1] <= most
        assert fit(graph, plan, BOARD, flash_bytes=0).hot_bytes == taken[-1]
        assert plan_from_json(plan_to_json(check_plan(graph, plan))) == plan
    assert taken == sorted(taken)
    assert taken[0] == 0 < taken[2] < taken[-1]


def test_the_weights_with_the_most_work_per_byte_come_first() -> None:
    graph, plan = planned(400)
    convolutions = [node.name for node in graph.nodes if "conv" in node.op.name]
    assert convolutions[0] in plan.hot
    assert not any(n.op.name == "fully_connected" and n.name in plan.hot for n in graph.nodes)


@pytest.mark.parametrize("hot", [("nobody",), ("first", "first")])
def test_a_plan_with_wrong_hot_weights_is_refused(hot: tuple[str, ...]) -> None:
    graph, plan = planned(0)
    names = tuple(graph.nodes[0].name if name == "first" else name for name in hot)
    with pytest.raises(FitError, match="has no weights, or is named twice"):
        check_plan(graph, replace(plan, hot=names))


def test_hot_weights_are_read_from_ram_and_change_no_output(tmp_path: Path) -> None:
    graph, plan = planned(1000)
    files = project_files(graph, plan, BOARD, name="model")
    firmware = build_firmware(files, BOARD, tmp_path)
    tables = build_model(graph, plan, "model").tables
    with firmware.elf.open("rb") as stream:
        table = ELFFile(stream).get_section_by_name(".symtab")
        places = {symbol.name: symbol["st_value"] for symbol in table.iter_symbols()}
    ram = range(BOARD.ram.start, BOARD.ram.start + BOARD.ram.size)
    hot = [table for table in tables if places[table.name] in ram]
    assert hot == [table for table in tables if table.hot]
    assert 0 < len(hot) < len(tables)
    assert sum(table.data.nbytes for table in hot) <= hot_bytes(graph, plan)
    emulator = Emulator(firmware, BOARD, graph, plan.hash)
    shape = graph.input_tensors[0].shape
    for seed in range(2):
        inputs = [np.random.default_rng(seed).integers(-128, 128, shape, np.int8)]
        np.testing.assert_array_equal(emulator.run(inputs).outputs, run(graph, inputs))
