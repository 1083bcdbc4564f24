"""Streams: every way to cut a network into stages gives the interpreter's bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain, product
from pathlib import Path

import numpy as np
import pytest

from boards import load_board
from codegen.emit import emit
from runtimes.host.library import HostModel, compile_host
from tests.ops.harness import random_values
from tests.plan.networks import (
    random_bottlenecks,
    random_map_network,
    random_separables,
    random_shortcuts,
)
from toolchain.errors import FitError
from toolchain.ir import Graph, run
from toolchain.kernels import Isa
from toolchain.plan import (
    LayerStage,
    Plan,
    Repeat,
    StreamStage,
    check_plan,
    pareto,
    plan_from_json,
    plan_layers,
    plan_model,
    plan_to_json,
    repeated,
)
from toolchain.plan.assemble import assemble
from toolchain.plan.cuts import Cuts
from toolchain.plan.edges import Edge
from toolchain.plan.lifetimes import prepare

KINDS = (random_map_network, random_bottlenecks, random_shortcuts)


def random_cuts(
    graph: Graph,
    rng: np.random.Generator,
    repeats: tuple[Repeat, ...] = (),
    blocks: Sequence[int] = (),
) -> Plan:
    """Cut ``graph`` at random; where rows are kept is decided for a random limit of memory.

    Steps make one of ``blocks`` rows where they can.
    """
    isa = Isa.DSP if rng.random() < 0.5 else Isa.PORTABLE
    fed, lean = (bool(chance) for chance in rng.random(2) < (0.5, 0.3))
    every = repeated(graph, repeats)
    work = prepare(every, isa, lean=lean)
    cuts = Cuts(every, isa, work, every.nodes, fed=fed, lean=lean)
    path, step = [], 0
    while step < len(every.nodes):
        longest = len(cuts.run(step))
        longest -= step == 0 and cuts.fed  # the feed itself is no step
        length = int(rng.integers(0, longest + 1)) if rng.random() < 0.9 else 0
        stream = length > 0
        block = int(rng.choice(blocks)) if blocks else 1
        made = tuple(worker.block for worker in cuts.run(step, block))
        made = made[step == 0 and cuts.fed :][:length] if block > 1 else ()
        path.append(Edge(step, step + max(1, length), stream, need=0, least=0, work=0, blocks=made))
        step = path[-1].end
    segments = cuts.segments(path, int(rng.choice([0, 200, 10**6])))
    return assemble(graph, isa, work, every.nodes, segments, repeats)


def assert_plans_equal_the_interpreter(seeds: range, folder: Path) -> list[StreamStage]:
    """Compile one randomly cut network per seed; return their streams."""
    stages = (stage for plan in equal_plans(seeds, folder) for stage in plan.stages)
    return [stage for stage in stages if isinstance(stage, StreamStage)]


def equal_plans(
    seeds: range,
    folder: Path,
    kinds: Sequence[Callable[[np.random.Generator], Graph]] = (),
    blocks: Sequence[int] = (),
) -> list[Plan]:
    """Compile one randomly cut network per seed and compare it with the interpreter."""
    cases, files, plans = [], {}, []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        kind = rng.choice(list(kinds)) if kinds else rng.choice(KINDS, p=(0.5, 0.25, 0.25))
        graph = kind(rng)
        plan = check_plan(graph, random_cuts(graph, rng, blocks=blocks))
        assert plan_from_json(plan_to_json(plan)) == plan
        plans.append(plan)
        cases.append((seed, graph))
        files |= emit(graph, plan, f"case{seed}")
    library = compile_host(files, folder)
    for seed, graph in cases:
        model = HostModel(library, f"case{seed}", graph.input_tensors, graph.output_tensors)
        inputs = [random_values(t, np.random.default_rng(seed)) for t in graph.input_tensors]
        for _ in range(2):
            for expected, got in zip(run(graph, inputs), model.run(inputs), strict=True):
                np.testing.assert_array_equal(got, expected, err_msg=f"seed {seed}")
    return plans


def test_random_streams_equal_the_interpreter(tmp_path: Path) -> None:
    streams = assert_plans_equal_the_interpreter(range(60), tmp_path)
    assert len(streams) > 60
    assert sum(bool(stage.feed) for stage in streams) > 10
    assert sum("global_pool" in stage.kernels for stage in streams) > 5
    assert sum(any(s.ring and s.fresh for s in stage.stores) for stage in streams) > 10
    assert sum(any(s.host for s in stage.stores) for stage in streams) > 3
    assert sum(any(s.pace for s in stage.stores) for stage in streams) > 2


def test_blocks_of_pixels_may_be_written_where_they_stood(tmp_path: Path) -> None:
    found: Counter[str] = Counter()
    for plan in equal_plans(range(2000, 2080), tmp_path, (random_separables,)):
        kernels = [s.kernels if isinstance(s, StreamStage) else (s.kernel,) for s in plan.stages]
        steps = [i for i, name in enumerate(chain(*kernels)) if name == "conv1x1_dsp"]
        for a, b in product(plan.slots, repeat=2):
            if a.last == b.first and b.first in steps and a.offset < b.end and b.offset < a.end:
                found[a.name.rpartition(".")[2] if not b.tensors else "map"] += 1
    assert min(found["fresh"], found["map"]) > 5, found


BLOCKS = (2, 3, 4, 5)


def test_blocks_of_rows_equal_the_interpreter(tmp_path: Path) -> None:
    kinds = (random_separables, random_separables, *KINDS)
    found: Counter[str] = Counter()
    for plan in equal_plans(range(3000, 3120), tmp_path, kinds, BLOCKS):
        for stage in plan.stages:
            if not isinstance(stage, StreamStage) or not stage.blocks:
                continue
            found["stream"] += 1
            found["mixed"] += 1 in stage.blocks
            rings = {store.tensor for store in stage.stores if store.ring and store.fresh}
            found["ring"] += bool(rings)
            found["fed"] += bool(stage.feed)
            found["together"] += any(
                block > 1 and kernel == "conv1x1_dsp"
                for block, kernel in zip(stage.blocks, stage.kernels, strict=True)
            )
    assert min(found.values()) > 5, found


def over_maps(plan: Plan) -> set[str]:
    """Return the kinds of slots of a stream that share bytes with a map alive beside them."""
    maps = [slot for slot in plan.slots if slot.tensors]
    pairs = ((a, b) for a in plan.slots if not a.tensors for b in maps)
    together = ((a, b) for a, b in pairs if a.first <= b.last and b.first <= a.last)
    shared = (a for a, b in together if a.offset < b.end and b.offset < a.end)
    return {slot.name.rsplit(".")[-1] for slot in shared}


def test_rings_rows_and_scratch_memory_lie_where_maps_are_read_or_not_yet_made() -> None:
    found: Counter[str] = Counter()
    for seed in range(60):
        rng = np.random.default_rng(seed)
        graph = random_map_network(rng)
        found.update(over_maps(check_plan(graph, random_cuts(graph, rng))))
    assert min(found["ring"], found["fresh"], found["scratch"]) > 5, found


@pytest.mark.slow
@pytest.mark.parametrize("block", range(5))
def test_many_random_streams_equal_the_interpreter(block: int, tmp_path: Path) -> None:
    assert_plans_equal_the_interpreter(range(1000 + 100 * block, 1100 + 100 * block), tmp_path)


def test_fronts_fall_and_end_with_the_memory_of_plain_layers() -> None:
    smaller = 0
    for seed in range(30):
        graph = random_map_network(np.random.default_rng(seed))
        front = [check_plan(graph, plan) for plan in pareto(graph)]
        arenas = [plan.arena_bytes for plan in front]
        assert arenas == sorted(set(arenas))
        plain = plan_layers(graph)
        assert (front[-1].arena_bytes, front[-1].macs) == (plain.arena_bytes, plain.macs)
        assert front[-1] == plain or front[-1].instructions < plain.instructions
        once = next(plan for plan in front if computes_once(plan))
        assert plan_model(graph, max_macs=1).arena_bytes <= once.arena_bytes
        assert pays(plan_model(graph), front[-1])
        assert plan_model(graph, max_ram=front[-1].arena_bytes) == front[-1]
        smaller += len(front) > 1
    assert smaller > 5


def test_no_plan_of_a_front_needs_more_memory_and_more_work_than_another() -> None:
    beaten = 0
    for seed in range(12):
        graph = KINDS[seed % 3](np.random.default_rng(seed))
        front = pareto(graph, load_board("nucleo_f412zg"))
        for plan, leaner in ((a, b) for a, b in product(front[:-1], repeat=2) if a is not b):
            fewer = leaner.arena_bytes <= plan.arena_bytes and leaner.macs <= plan.macs
            assert not (fewer and leaner.instructions <= plan.instructions)
            beaten += 1
    assert beaten > 10


def test_an_impossible_limit_is_answered_with_the_least() -> None:
    graph = random_map_network(np.random.default_rng(0))
    least = pareto(graph)[0].arena_bytes
    with pytest.raises(FitError) as caught:
        plan_model(graph, max_ram=least - 1)
    assert caught.value.code == "E304"
    assert caught.value.numbers["least_ram_bytes"] == least


def pays(plan: Plan, layers: Plan) -> bool:
    """Tell whether a plan takes few instructions more than layers, or little for what it saves."""
    more = plan.instructions / layers.instructions
    return more <= 1.05 or more - 1 <= layers.arena_bytes / plan.arena_bytes - 1


def computes_once(plan: Plan) -> bool:
    """Tell whether no stage is cut into tiles."""
    return all(isinstance(s, LayerStage) or s.tiles == 1 for s in plan.stages)


def streamed() -> tuple[Graph, Plan]:
    """Return a network whose plan of least memory has a ring and a fresh row."""
    for seed in range(100):
        graph = random_map_network(np.random.default_rng(seed))
        plan = plan_model(graph)
        first = plan.stages[0]
        if isinstance(first, StreamStage) and any(s.ring > 1 and s.fresh for s in first.stores):
            return graph, plan
    raise AssertionError


def test_a_damaged_stream_is_refused() -> None:
    graph, plan = streamed()
    stage = plan.stages[0]
    assert isinstance(stage, StreamStage)
    for i, store in enumerate(stage.stores):
        if store.ring > 1:
            less = replace(store, ring=store.ring - 1)
            stores = (*stage.stores[:i], less, *stage.stores[i + 1 :])
            damaged = replace(plan, stages=(replace(stage, stores=stores), *plan.stages[1:]))
            with pytest.raises(FitError, match="overwritten"):
                check_plan(graph, damaged)
    for change, said in (
        ({"stores": ()}, "no slot"),
        ({"kernels": ()}, "one kernel per node"),
        ({"kernels": ("x",) * len(stage.kernels)}, "cannot run row by row"),
        ({"nodes": stage.nodes[::-1], "kernels": stage.kernels[::-1]}, "before it is made"),
        ({"feed": "nothing"}, "only input"),
        ({"blocks": (1,)}, "one number of rows per node"),
        ({"blocks": (0,) * len(stage.nodes)}, "cannot run row by row"),
        ({"blocks": (10**6,) * len(stage.nodes)}, "cannot run row by row"),
        ({"stores": (replace(stage.stores[0], ring=-1),)}, "none are kept"),
        ({"stores": (replace(stage.stores[0], tensor="?"),)}, "none are kept"),
    ):
        damaged = replace(plan, stages=(replace(stage, **change), *plan.stages[1:]))
        with pytest.raises(FitError, match=said):
            check_plan(graph, damaged)


def test_a_pace_that_cannot_be_kept_is_refused() -> None:
    for seed in range(100):
        graph = random_shortcuts(np.random.default_rng(seed))
        plan = plan_model(graph, fed=True)
        stage = plan.stages[0]
        paced = [s for s in stage.stores if s.pace] if isinstance(stage, StreamStage) else []
        if paced:
            break
    assert isinstance(stage, StreamStage)
    for pace in ("nothing", paced[0].tensor, stage.feed):
        stores = tuple(replace(s, pace=pace) if s is paced[0] else s for s in stage.stores)
        damaged = replace(plan, stages=(replace(stage, stores=stores), *plan.stages[1:]))
        with pytest.raises(FitError, match="cannot be made in pace"):
            check_plan(graph, damaged)


def hosted() -> tuple[Graph, Plan, StreamStage, int]:
    """Return a network, its plan, the stream and the number of a store that is a guest."""
    for seed in range(100):
        graph = random_bottlenecks(np.random.default_rng(seed))
        plan = plan_model(graph)
        for stage in plan.stages:
            if not isinstance(stage, StreamStage):
                continue
            rings = {store.tensor for store in stage.stores if store.ring > 1}
            for i, store in enumerate(stage.stores):
                if store.host in rings:
                    return graph, plan, stage, i
    raise AssertionError


def test_a_guest_on_a_wrong_ring_is_refused() -> None:
    graph, plan, stage, index = hosted()
    guest = stage.stores[index]
    host = next(i for i, store in enumerate(stage.stores) if store.tensor == guest.host)
    ring = stage.stores[host]
    for i, store, said in (
        (index, replace(guest, host=guest.tensor), "cannot lie on the ring"),
        (index, replace(guest, host="nothing"), "cannot lie on the ring"),
        (index, replace(guest, ring=1), "none are kept"),
        (host, replace(ring, ring=0, fresh=1), "cannot lie on the ring"),
        (host, replace(ring, ring=ring.ring - 1), "overwritten"),
    ):
        stores = (*stage.stores[:i], store, *stage.stores[i + 1 :])
        stages = (replace(s, stores=stores) if s is stage else s for s in plan.stages)
        with pytest.raises(FitError, match=said):
            check_plan(graph, replace(plan, stages=tuple(stages)))


def test_leaner_kernels_are_a_choice_where_scratch_memory_is_the_peak() -> None:
    board = load_board("emulator_m4_16m")
    smaller = 0
    for seed in range(10):
        graph = random_shortcuts(np.random.default_rng(seed))
        quick = plan_model(graph, board, fed=True)
        least = check_plan(graph, plan_model(graph, board, max_macs=1, fed=True))
        assert least.arena_bytes <= quick.arena_bytes
        assert least.macs == quick.macs == graph.macs
        smaller += least.arena_bytes < quick.arena_bytes
    assert smaller > 2
