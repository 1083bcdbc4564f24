"""The shadow: right C passes, and C made from a wrong plan, or printed wrongly, is caught."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from codegen.emit import emit
from runtimes.host.shadow import ShadowModel
from tests.ops.harness import random_values
from tests.plan.networks import random_decoder, random_map_network, random_mobile_network
from tests.plan.test_banks import placed
from tests.plan.test_repeats import case
from tests.plan.test_staging import SLOW, names
from tests.plan.test_stream import random_cuts
from toolchain.errors import FitError, InternalError
from toolchain.ir import Array, Graph, run
from toolchain.kernels import Isa
from toolchain.plan import Plan, StreamStage, check_plan, plan_layers, plan_model
from toolchain.plan.staging import with_staged_weights


def inputs_of(graph: Graph) -> list[Array]:
    return [random_values(t, np.random.default_rng(1)) for t in graph.input_tensors]


def network(seed: int) -> tuple[Graph, Plan]:
    rng = np.random.default_rng(seed)
    graph = random_map_network(rng)
    return graph, check_plan(graph, random_cuts(graph, rng))


def assert_sound(graph: Graph, plan: Plan, folder: Path) -> None:
    model = ShadowModel(graph, plan, emit(graph, plan), folder)
    for _ in range(2):
        inputs = inputs_of(graph)
        for expected, got in zip(run(graph, inputs), model.run(inputs), strict=True):
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("seed", range(8))
def test_right_plans_pass(seed: int, tmp_path: Path) -> None:
    assert_sound(*network(seed), tmp_path)


@pytest.mark.parametrize("seed", range(3))
def test_right_plans_that_resample_pass(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    graph = random_decoder(rng)
    assert_sound(graph, check_plan(graph, random_cuts(graph, rng)), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 130))
def test_many_right_plans_pass(seed: int, tmp_path: Path) -> None:
    assert_sound(*network(seed), tmp_path)


def split_plans() -> Iterator[tuple[Graph, Plan]]:
    """Yield plans in several pieces of RAM."""
    for seed in range(60):
        graph, _, plan, _ = placed(seed)
        if plan is not None and len(plan.regions) > 1:
            yield graph, plan


def wrong_plans(plans: Iterable[tuple[Graph, Plan]]) -> Iterator[tuple[Graph, Plan]]:
    """Yield ``plans`` in which a value loses bytes that are still needed."""
    rng = np.random.default_rng(5)
    for graph, plan in plans:
        at, onto = (int(i) for i in rng.integers(len(plan.slots), size=2))
        region = plan.slots[onto].region
        room = max(0, plan.regions[region] - plan.slots[at].size)
        place = min(plan.slots[onto].offset, room) & ~7
        moved = replace(plan.slots[at], region=region, offset=place)
        wrong = replace(plan, slots=(*plan.slots[:at], moved, *plan.slots[at + 1 :]))
        try:
            check_plan(graph, wrong)
        except FitError as error:
            if "overwritten" in error.what:
                yield graph, wrong


def caught_in_c(wrong: Iterable[tuple[Graph, Plan]], folder: Path) -> int:
    """Return how many plans are caught; all others do no harm."""
    caught = 0
    for count, (graph, plan) in enumerate(wrong):
        model = ShadowModel(graph, plan, emit(graph, plan), folder / str(count))
        inputs = inputs_of(graph)
        try:
            outputs = model.run(inputs)
        except InternalError:
            caught += 1
        else:
            for expected, got in zip(run(graph, inputs), outputs, strict=True):
                np.testing.assert_array_equal(got, expected)
    return caught


def test_what_the_checker_refuses_is_caught_in_c(tmp_path: Path) -> None:
    """It is caught, or harmless: strides leave out bytes that the checker counts as read."""
    wrong = wrong_plans(network(seed) for seed in range(40))
    assert caught_in_c(itertools.islice(wrong, 12), tmp_path) >= 9


def test_arenas_in_several_banks_have_one_shadow(tmp_path: Path) -> None:
    for count, (graph, plan) in enumerate(itertools.islice(split_plans(), 6)):
        assert_sound(graph, plan, tmp_path / str(count))


def test_what_the_checker_refuses_is_caught_in_several_banks(tmp_path: Path) -> None:
    wrong = itertools.islice(wrong_plans(split_plans()), 8)
    assert caught_in_c(wrong, tmp_path) >= 6


def test_a_ring_that_turns_too_early_is_caught(tmp_path: Path) -> None:
    """The plan is right, its C is not: no check of the plan could see it."""
    for seed in range(60):
        graph, plan = network(seed)
        rings = [s.ring for t in plan.stages if isinstance(t, StreamStage) for s in t.stores]
        files = emit(graph, plan)
        source = re.sub(r"% 3\b", "% 2", files["src/model.c"])
        if 3 not in rings or source == files["src/model.c"]:
            continue
        model = ShadowModel(graph, plan, {**files, "src/model.c": source}, tmp_path / str(seed))
        with pytest.raises(InternalError, match="another row has taken its place"):
            model.run(inputs_of(graph))
        return
    raise AssertionError


def staged(seed: int) -> tuple[Graph, Plan]:
    """Return a plan with staged constants, of layers if ``seed`` is even, else with streams."""
    graph = random_mobile_network(np.random.default_rng(seed))
    plan = plan_model(graph) if seed % 2 else plan_layers(graph, Isa.DSP)
    return graph, check_plan(graph, with_staged_weights(graph, plan, SLOW, 2**20))


@pytest.mark.parametrize("seed", range(4))
def test_nodes_read_their_staged_constants(seed: int, tmp_path: Path) -> None:
    graph, plan = staged(seed)
    streams = [stage for stage in plan.stages if isinstance(stage, StreamStage)]
    assert names(plan)
    assert seed % 2 == 0 or {f"{n}.weights" for s in streams for n in s.nodes} & {*names(plan)}
    assert_sound(graph, plan, tmp_path)


def test_second_passes_read_copies_of_their_own(tmp_path: Path) -> None:
    graph, plan = case(1)
    plan = check_plan(graph, with_staged_weights(graph, plan, SLOW, 2**20))
    again = {f"{name}#2.weights" for repeat in plan.repeats for name in repeat.nodes}
    assert again & {*names(plan)}
    assert_sound(graph, plan, tmp_path)


def over_staged(seed: int) -> Iterator[tuple[Graph, Plan]]:
    """Yield plans in which staged constants and another value want the same bytes."""
    graph, plan = staged(seed)
    for slot in (s for s in plan.slots if s.name in names(plan)):
        for other in plan.slots:
            if other is not slot and other.first <= slot.last and slot.first <= other.last:
                moved = replace(slot, offset=-(-other.offset // 4) * 4)
                slots = tuple(moved if s is slot else s for s in plan.slots)
                size = max(s.end for s in slots)
                yield graph, replace(plan, slots=slots, arena_bytes=max(size, plan.arena_bytes))


@pytest.mark.parametrize("seed", range(2))
def test_staged_constants_over_live_bytes_are_refused_and_caught(seed: int, tmp_path: Path) -> None:
    wrong = list(over_staged(seed))
    for graph, plan in wrong:
        with pytest.raises(FitError, match="overwritten"):
            check_plan(graph, plan)
    some = wrong[:: len(wrong) // 5]
    assert caught_in_c(some, tmp_path) == len(some)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (r"", "reads byte"),
        (r"memcpy(arena + \1, model_weights_00_conv2d, \2);", "writes byte"),
        (r"\g<0> arena[\1] = 0;", "writes byte .* it belongs to staged constants of"),
    ],
)
def test_constants_that_are_not_copied_or_lost_are_caught(
    damage: str, said: str, tmp_path: Path
) -> None:
    """The plan is right, its C is not."""
    graph, plan = staged(1)
    files = emit(graph, plan)
    copy = r"memcpy\(arena \+ (\d+), model_weights_01_conv2d, (\d+)\);"
    source = re.sub(copy, damage, files["src/model.c"])
    assert source != files["src/model.c"]
    model = ShadowModel(graph, plan, {**files, "src/model.c": source}, tmp_path)
    with pytest.raises(InternalError, match=said):
        model.run(inputs_of(graph))
