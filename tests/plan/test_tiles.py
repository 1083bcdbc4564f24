"""Tiles: whatever the grid, a stage in tiles gives the interpreter's bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from codegen.emit import emit
from runtimes.host.library import HostModel, compile_host
from tests.ops.harness import random_values
from tests.plan.networks import random_map_network
from toolchain.ir import Graph, run
from toolchain.kernels import Isa
from toolchain.plan import Plan, StreamStage, check_plan, plan_from_json, plan_to_json
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


def assert_tiles_equal_the_interpreter(seeds: range, folder: Path) -> list[StreamStage]:
    """Compile one network per seed in random tiles; return the stages that have several."""
    cases, files, stages = [], {}, []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        graph = random_map_network(rng)
        plan = check_plan(graph, random_tiles(graph, rng))
        assert plan_from_json(plan_to_json(plan)) == plan
        streams = [stage for stage in plan.stages if isinstance(stage, StreamStage)]
        stages += [stage for stage in streams if stage.tiles > 1]
        cases.append((seed, graph))
        files |= emit(graph, plan, f"case{seed}")
    library = compile_host(files, folder)
    for seed, graph in cases:
        model = HostModel(library, f"case{seed}", graph.input_tensors, graph.output_tensors)
        inputs = [random_values(t, np.random.default_rng(seed)) for t in graph.input_tensors]
        for _ in range(2):
            for expected, got in zip(run(graph, inputs), model.run(inputs), strict=True):
                np.testing.assert_array_equal(got, expected, err_msg=f"seed {seed}")
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
