"""Tiles: whatever the grid, a stage in tiles gives the interpreter's bytes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from boards import load_board
from codegen.emit import emit
from codegen.project import project_files
from runtimes.host.library import HostModel, compile_host
from tests.ops.harness import random_values
from tests.plan.networks import random_map_network, random_mobile_network
from tests.runtimes.networks import Network
from toolchain.errors import FitError
from toolchain.ir import Graph, run
from toolchain.kernels import Isa
from toolchain.plan import (
    Plan,
    StreamStage,
    check_plan,
    pareto,
    plan_from_json,
    plan_model,
    plan_to_json,
)
from toolchain.plan.assemble import Segment, assemble
from toolchain.plan.cuts import Cuts
from toolchain.plan.lifetimes import prepare
from toolchain.plan.streaming import stream
from toolchain.plan.tiles import Grid, Tiling


def random_tiles(graph: Graph, rng: np.random.Generator) -> Plan:
    """Cut ``graph`` at random into streams in random grids."""
    work = prepare(graph, Isa.PORTABLE)
    cuts = Cuts(graph, Isa.PORTABLE, work, graph.nodes, fed=bool(rng.random() < 0.5))
    segments: list[Segment] = []
    step = 0
    while step < len(graph.nodes):
        longest = len(cuts.run(step)) - (step == 0 and cuts.fed)
        end = step + (int(rng.integers(1, longest + 1)) if longest else 1)
        inside = frozenset(value.name for value in cuts.inner(step, end))
        feed = graph.inputs[0] if step == 0 and cuts.fed else ""
        grid = Grid(int(rng.integers(1, 4)), int(rng.integers(1, 6)))
        tiling = Tiling(graph, tuple(graph.nodes[step:end]), grid, inside, feed)
        found = stream(tiling, Isa.PORTABLE, int(rng.choice([0, 10**6]))) if longest else None
        segments.append(Segment(step, end if found else step + 1, found))
        step = segments[-1].end
    return assemble(graph, Isa.PORTABLE, work, graph.nodes, segments)


def uneven(graph: Graph, stage: StreamStage) -> bool:
    """Tell whether the grid does not divide the map that a stage ends with."""
    node = next(node for node in graph.nodes if node.name == stage.nodes[-1])
    operands, folds = graph.operands(node), stage.kernels[-1] == "global_pool"
    cut = operands.input(0) if folds else operands.output
    return bool(cut.shape[1] % stage.tile_rows or cut.shape[2] % stage.tile_columns)


def assert_tiles_equal_the_interpreter(seeds: range, folder: Path) -> list[StreamStage]:
    """Compile one network per seed in random tiles; return the stages that have several.

    No grid divides the maps of some of them.
    """
    cases, files, stages, odd = [], {}, [], 0
    for seed in seeds:
        rng = np.random.default_rng(seed)
        graph = random_map_network(rng)
        plan = check_plan(graph, random_tiles(graph, rng))
        assert plan_from_json(plan_to_json(plan)) == plan
        streams = [stage for stage in plan.stages if isinstance(stage, StreamStage)]
        stages += [stage for stage in streams if stage.tiles > 1]
        odd += sum(stage.tiles > 1 and uneven(graph, stage) for stage in streams)
        cases.append((seed, graph))
        files |= emit(graph, plan, f"case{seed}")
    library = compile_host(files, folder)
    for seed, graph in cases:
        model = HostModel(library, f"case{seed}", graph.input_tensors, graph.output_tensors)
        inputs = [random_values(t, np.random.default_rng(seed)) for t in graph.input_tensors]
        for _ in range(2):
            for expected, got in zip(run(graph, inputs), model.run(inputs), strict=True):
                np.testing.assert_array_equal(got, expected, err_msg=f"seed {seed}")
    assert odd > len(stages) / 4
    return stages


def test_random_tiles_equal_the_interpreter(tmp_path: Path) -> None:
    stages = assert_tiles_equal_the_interpreter(range(60), tmp_path)
    assert len(stages) > 30
    assert sum(stage.tile_rows > 1 and stage.tile_columns > 1 for stage in stages) > 10
    assert sum(bool(stage.feed) for stage in stages) > 5
    assert sum("global_pool" in stage.kernels for stage in stages) > 5
    assert sum(any(s.ring and s.fresh for s in stage.stores) for stage in stages) > 5


@pytest.mark.slow
@pytest.mark.parametrize("block", range(5))
def test_many_random_tiles_equal_the_interpreter(block: int, tmp_path: Path) -> None:
    assert_tiles_equal_the_interpreter(range(2000 + 100 * block, 2100 + 100 * block), tmp_path)


def tiled_plans(seeds: range) -> list[tuple[Graph, Plan]]:
    """Return the plans on the fronts of random networks that are cut into strips."""
    found = []
    for seed in seeds:
        graph = random_mobile_network(np.random.default_rng(seed))
        for plan in pareto(graph, fed=seed % 2 == 0):
            tiles = [s.tiles for s in plan.stages if isinstance(s, StreamStage)]
            if max(tiles, default=1) > 1:
                found.append((graph, check_plan(graph, plan)))
    return found


def test_strips_on_fronts_equal_the_interpreter(tmp_path: Path) -> None:
    plans = tiled_plans(range(3))
    assert sum(plan.recomputed_macs > 0 for _, plan in plans) > 2
    files: dict[str, str] = {}
    for index, (graph, plan) in enumerate(plans):
        files |= emit(graph, plan, f"case{index}")
    library = compile_host(files, tmp_path)
    for index, (graph, _) in enumerate(plans):
        model = HostModel(library, f"case{index}", graph.input_tensors, graph.output_tensors)
        inputs = [random_values(t, np.random.default_rng(index)) for t in graph.input_tensors]
        for expected, got in zip(run(graph, inputs), model.run(inputs), strict=True):
            np.testing.assert_array_equal(got, expected, err_msg=f"plan {index}")


def test_work_is_that_of_the_tiles_and_within_the_limit() -> None:
    for seed in range(6):
        graph = random_mobile_network(np.random.default_rng(seed))
        once, most = plan_model(graph, fed=True), pareto(graph, fed=True)[0]
        plan = plan_model(graph, max_macs=1.2, fed=True)
        assert plan.macs <= 1.2 * graph.macs
        assert most.arena_bytes <= plan.arena_bytes <= once.arena_bytes
        assert plan.macs >= graph.macs or plan.recomputed_macs == 0
        assert plan_model(graph, max_ram=plan.arena_bytes, fed=True).macs <= max(
            plan.macs, once.macs
        )


def test_a_damaged_tiling_is_refused() -> None:
    graph, plan = next(
        (graph, plan)
        for graph, plan in tiled_plans(range(2))
        if isinstance(plan.stages[0], StreamStage) and plan.stages[0].tiles > 1
    )
    stage = plan.stages[0]
    assert isinstance(stage, StreamStage)
    for change, said in (
        ({"tile_columns": 0}, "not possible"),
        ({"tile_rows": 10**6}, "not possible"),
        ({"tile_columns": 4000}, "cannot run row by row in such tiles"),
        ({"tile_columns": 1}, "its slot has"),
    ):
        damaged = replace(plan, stages=(replace(stage, **change), *plan.stages[1:]))
        with pytest.raises(FitError, match=said):
            check_plan(graph, damaged)


def test_strips_run_in_the_emulator(tmp_path: Path) -> None:
    board = load_board("nucleo_f446re")
    for seed, fed in ((0, True), (1, False)):
        graph = random_mobile_network(np.random.default_rng(seed))
        plan = check_plan(graph, pareto(graph, board, fed=fed)[0])
        assert any(isinstance(s, StreamStage) and s.tiles > 1 for s in plan.stages)
        assert bool(plan.pull) == fed
        network = Network(graph, plan, board, project_files(graph, plan, board, name="model"))
        emulator = network.emulator(tmp_path / str(seed))
        for case in range(2):
            inputs = network.inputs(case)
            done = emulator.run(inputs)
            for expected, got in zip(run(graph, inputs), done.outputs, strict=True):
                np.testing.assert_array_equal(got, expected)
