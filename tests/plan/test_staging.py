"""Staged weights: copied to free room in the arena while their stage runs; the outputs stay."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from boards import load_board
from boards.board import FlashAccess
from codegen.emit import emit
from codegen.project import project_files
from nas.layer_list import Block, LayerList, build_graph
from runtimes.emulator.cycles import estimate
from runtimes.emulator.emulator import Emulator
from runtimes.host.sanitized import SanitizedModel
from runtimes.host.shadow import ShadowModel
from runtimes.toolchains import build_firmware
from tests.plan.networks import random_mobile_network
from toolchain.cli.arguments import random_cases
from toolchain.errors import FitError
from toolchain.ir import Graph, run
from toolchain.kernels import Isa
from toolchain.passes import simplify
from toolchain.plan import (
    LayerStage,
    Plan,
    Slot,
    check_plan,
    plan_from_json,
    plan_layers,
    plan_model,
    plan_to_json,
)
from toolchain.plan.heat import with_hot_weights
from toolchain.plan.plan import stage_nodes
from toolchain.plan.staging import slot_name, with_staged_weights

BOARD = load_board("nucleo_l4r5zi")
SLOW = FlashAccess(9, 4, 0, 0, prefetch=False, source="a flash for which every copy pays")


def network() -> Graph:
    """Return a network with pointwise layers whose weights are read for many pixels."""
    blocks = (Block(0, 8, 3, 1, residual=False), Block(48, 16, 3, 2, residual=False))
    return simplify(build_graph(LayerList("staged", (24, 20), 3, (3, 2, 16), blocks, 32, 10)))


def names(plan: Plan) -> list[str]:
    return [slot.name for slot in plan.slots if slot.name.endswith(".weights")]


def roomy() -> tuple[Graph, Plan]:
    graph = network()
    assert BOARD.flash_access is not None
    plan = plan_layers(graph, Isa.DSP)
    return graph, with_staged_weights(graph, plan, BOARD.flash_access, 2**16)


@pytest.mark.parametrize("seed", range(4))
def test_staged_plans_are_right_and_keep_to_their_bytes(seed: int, tmp_path: Path) -> None:
    graph = random_mobile_network(np.random.default_rng(seed), gates=seed % 2 > 0)
    plan = plan_layers(graph, Isa.DSP) if seed < 2 else plan_model(graph)
    free, roomy = (with_staged_weights(graph, plan, SLOW, most) for most in (None, 2**20))
    assert free.arena_bytes == plan.arena_bytes <= roomy.arena_bytes <= 2**20
    assert len(names(free)) <= len(names(roomy)) > 0
    for staged in (free, roomy):
        assert plan_from_json(plan_to_json(check_plan(graph, staged))) == staged
    model = SanitizedModel(graph, emit(graph, roomy), tmp_path)
    cases = random_cases(graph.input_tensors, 2, seed=seed)
    for case, outputs in zip(cases, model.run(cases), strict=True):
        np.testing.assert_array_equal(outputs, run(graph, case))


@pytest.mark.parametrize("seed", range(3))
def test_fed_streams_copy_constants_with_their_first_row(seed: int, tmp_path: Path) -> None:
    graph = random_mobile_network(np.random.default_rng(seed), gates=seed % 2 > 0)
    plan = plan_model(graph, fed=True)
    staged = check_plan(graph, with_staged_weights(graph, plan, SLOW, 2**20))
    (first, *_), here = plan.stages, names(staged)
    assert plan.feed
    assert any(slot_name(node) in here for node in stage_nodes(first))
    model = ShadowModel(graph, staged, emit(graph, staged), tmp_path)
    for case in random_cases(graph.input_tensors, 2, seed=seed):
        np.testing.assert_array_equal(model.run(case), run(graph, case))


def test_staging_saves_waits_on_a_board_and_changes_no_output(tmp_path: Path) -> None:
    graph, staged = roomy()
    cycles = []
    for number, plan in enumerate((plan_layers(graph, Isa.DSP), staged)):
        files = project_files(graph, plan, BOARD, name="model")
        firmware = build_firmware(files, BOARD, tmp_path / str(number))
        emulator = Emulator(firmware, BOARD, graph, plan.hash)
        emulator.machine.watch_flash()
        for case in random_cases(graph.input_tensors, 2, seed=1):
            np.testing.assert_array_equal(emulator.run(case).outputs, run(graph, case))
        cycles.append(estimate(emulator))
    plain, copied = cycles
    assert copied.waits < plain.waits / 2
    assert copied.total < plain.total


def test_only_plans_for_boards_with_a_known_flash_stage_weights() -> None:
    graph = network()
    assert names(plan_model(graph, BOARD, max_ram=2**16))
    assert not names(plan_model(graph, load_board("emulator_m4_16m"), max_ram=2**16))
    assert not names(plan_model(graph, max_ram=2**16))


def test_what_the_data_cache_keeps_or_what_is_read_once_is_not_staged() -> None:
    graph = network()
    plan = plan_layers(graph, Isa.DSP)
    cached = replace(SLOW, word=8, data_words=2**20)
    assert with_staged_weights(graph, plan, cached, 2**20) is plan
    assert slot_name(graph.nodes[-1].name) not in names(roomy()[1])


def test_hot_weights_are_not_staged() -> None:
    graph, plan = roomy()
    assert names(plan)
    hot = with_hot_weights(graph, plan, BOARD, 2**18)
    assert not names(check_plan(graph, hot))


def damaged(plan: Plan, **changes: int) -> Plan:
    """Return ``plan`` with its first staged slot changed."""
    name = names(plan)[0]
    slots = (replace(s, **changes) if s.name == name else s for s in plan.slots)
    return replace(plan, slots=tuple(slots))


def test_the_checker_refuses_copies_that_are_overwritten_too_small_or_gone() -> None:
    graph, plan = roomy()
    slot = next(s for s in plan.slots if s.name == names(plan)[0])
    below = next(
        s for s in plan.slots if s.tensors and s.first <= slot.first <= s.last and s is not slot
    )
    with pytest.raises(FitError, match="are overwritten by"):
        check_plan(graph, damaged(plan, offset=below.offset))
    with pytest.raises(FitError, match="its slot has"):
        check_plan(graph, damaged(plan, size=slot.size - 4))
    with pytest.raises(FitError, match="not aligned"):
        check_plan(graph, damaged(plan, offset=slot.offset + 1, size=slot.size))
    with pytest.raises(FitError, match="is used in step"):
        check_plan(graph, damaged(plan, first=slot.first + 1, last=slot.last + 1))


def test_the_checker_refuses_to_stage_what_a_node_does_not_have() -> None:
    graph, plan = roomy()
    pools = [node.name for node in graph.nodes if "pool" in node.op.name]
    steps = [s.node if isinstance(s, LayerStage) else "" for s in plan.stages]
    step = steps.index(pools[0])
    extra = Slot(slot_name(pools[0]), (), "arena", 0, 4, step, step)
    with pytest.raises(FitError, match="no constants can be staged"):
        check_plan(graph, replace(plan, slots=(*plan.slots, extra)))
