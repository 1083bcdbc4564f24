"""Networks that branch: a view ends no stream, and what comes and goes in a stream shares bytes."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from benchmarks.row_bound import row_bound
from codegen.emit import emit
from nas.draft import Draft
from runtimes.host import build_host
from tests.plan.networks import random_map_network, random_network
from toolchain.errors import FitError
from toolchain.ir import Graph, Tensor, run, verify
from toolchain.kernels import Isa
from toolchain.numerics import Activation
from toolchain.ops import Concat, Quantize, Reshape, Transpose
from toolchain.plan import LayerStage, Plan, StreamStage, check_plan, plan_layers, plan_model
from toolchain.plan.cuts import Cuts
from toolchain.plan.lifetimes import prepare
from toolchain.plan.order import views_late

RELU = Activation.RELU


def detector() -> Graph:
    """Return a network of three scales; at each a head's boxes are flattened, all are joined."""
    draft = Draft("detector")
    x = draft.conv(draft.input(1, 72, 96, 3), 8, 3, 2, RELU)
    boxes: list[Tensor] = []
    for channels in (16, 24, 32):
        x = draft.conv(draft.depthwise(x, (3, 3), 2, RELU), channels, activation=RELU)
        x = draft.conv(x, channels, 3, activation=RELU)
        head = draft.conv(draft.depthwise(x, (3, 3), activation=RELU), 12)
        if boxes:
            head = draft.add(Quantize(), head, quant=boxes[0].quant)
        flat = Reshape((1, head.shape[1] * head.shape[2] * 3, 4))
        boxes.append(draft.add(flat, head, quant=head.quant))
    return draft.graph(draft.add(Concat(1), *boxes, quant=boxes[0].quant))


def shuffled() -> Graph:
    """Return a network whose channels are shuffled through views of another shape."""
    draft = Draft("shuffled")
    x = draft.conv(draft.input(1, 24, 24, 3), 32, 3, 1, RELU)
    x = draft.add(Reshape((1, 576, 4, 8)), x, quant=x.quant)
    x = draft.add(Transpose((0, 1, 3, 2)), x, quant=x.quant)
    x = draft.add(Reshape((1, 24, 24, 32)), x, quant=x.quant)
    return draft.graph(draft.conv(x, 4))


def assert_right(graph: Graph, plan: Plan, folder: Path) -> None:
    check_plan(graph, plan)
    model = build_host(graph, emit(graph, plan), folder)
    shape = graph.input_tensors[0].shape
    inputs = [np.random.default_rng(0).integers(-128, 128, shape, np.int8)]
    for got, want in zip(model.run(inputs), run(graph, inputs), strict=True):
        np.testing.assert_array_equal(got, want)


def test_a_detector_streams_through_its_heads_and_joins_boxes_where_they_lie(
    tmp_path: Path,
) -> None:
    graph = detector()
    plan = plan_model(graph, fed=True)
    joined = graph.tensors[graph.outputs[0]].nbytes
    assert sum(isinstance(stage, StreamStage) for stage in plan.stages) >= 3
    assert 2 * joined > plan.arena_bytes  # the join's inputs lie in its output
    assert plan.arena_bytes < 1.15 * row_bound(graph, fed=True)
    assert_right(graph, plan, tmp_path)


def test_a_map_read_through_a_view_is_overwritten_row_by_row(tmp_path: Path) -> None:
    graph = shuffled()
    plan = plan_model(graph)
    largest = graph.tensors[graph.nodes[0].outputs[0]].nbytes
    assert plan_layers(graph).arena_bytes == 2 * largest
    assert plan.arena_bytes < 1.05 * largest
    assert_right(graph, plan, tmp_path)


def test_a_view_with_a_kernel_is_refused() -> None:
    graph = shuffled()
    plan = plan_layers(graph)
    assert plan.stages[1] == LayerStage(graph.nodes[1].name, "")
    named = LayerStage(graph.nodes[1].name, "copy")
    stages = (plan.stages[0], named, *plan.stages[2:])
    with pytest.raises(FitError, match='moves nothing: kernel "copy" cannot run it'):
        check_plan(graph, replace(plan, stages=stages))


def test_late_views_change_nothing_but_the_order() -> None:
    moved = 0
    for seed in range(120):
        rng = np.random.default_rng(seed)
        graph = random_network(rng)
        work = prepare(graph, Isa.PORTABLE)
        order = views_late(graph, work, graph.nodes)
        late = verify(replace(graph, nodes=order))
        moved += order != graph.nodes
        for node, after in pairwise(order):
            if not work[node.name].kernel and work[after.name].kernel:
                assert node.outputs[0] in after.inputs
        inputs = [rng.integers(-128, 128, t.shape, np.int8) for t in graph.input_tensors]
        for got, want in zip(run(late, inputs), run(graph, inputs), strict=True):
            np.testing.assert_array_equal(got, want)
    assert moved > 10


def test_a_stream_shares_places_at_best_and_none_at_worst() -> None:
    shared = 0
    for seed in range(40):
        graph = random_map_network(np.random.default_rng(seed))
        cuts = Cuts(graph, Isa.PORTABLE, prepare(graph, Isa.PORTABLE), graph.nodes)
        for edge in cuts.edges:
            assert 0 < edge.least <= edge.need
            shared += edge.least < edge.need
    assert shared > 20
