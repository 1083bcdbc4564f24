"""Streams that enlarge maps: decoders, feature pyramids, the best class of every pixel."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from boards import load_board
from codegen.project import project_files
from nas.draft import Draft
from tests.plan.networks import random_decoder
from tests.plan.test_heads import assert_right
from tests.plan.test_stream import BLOCKS, equal_plans
from tests.runtimes.networks import Network
from toolchain.ir import DType, Graph, Node, Tensor, run, verify
from toolchain.numerics import Activation
from toolchain.ops import Add, ArgMax, ResizeBilinear
from toolchain.plan import StreamStage, check_plan, plan_layers, plan_model

RESIZES = {"resize_nearest", "resize_bilinear", "resize_bilinear_float"}


def test_streams_that_resample_equal_the_interpreter(tmp_path: Path) -> None:
    found: Counter[str] = Counter()
    for blocks, first in (((), 0), (BLOCKS, 100)):
        folder = tmp_path / str(first)
        for plan in equal_plans(range(first, first + 35), folder, (random_decoder,), blocks):
            for stage in plan.stages:
                if isinstance(stage, StreamStage):
                    found.update(set(stage.kernels) & {*RESIZES, "arg_max"})
                    resizes = bool(RESIZES.intersection(stage.kernels))
                    found["fed"] += resizes and bool(stage.feed)
                    found["ring"] += resizes and any(store.ring > 1 for store in stage.stores)
                    found["blocks"] += resizes and bool(stage.blocks)
    assert min(found[name] for name in (*RESIZES, "arg_max", "fed", "ring", "blocks")) > 5, found


def test_planned_indices_of_eight_bytes_are_aligned() -> None:
    kinds: Counter[str] = Counter()
    for seed in range(60):
        graph = random_decoder(np.random.default_rng(seed))
        kinds[graph.output_tensors[0].dtype.value] += 1
        for plan in (plan_layers(graph), plan_model(graph)):
            check_plan(graph, plan)
    assert min(kinds[name] for name in ("int8", "int32", "int64")) > 5, kinds


def segmentation() -> Graph:
    """Return a network that tells the class of every pixel of an image of 48 x 64 pixels."""
    draft = Draft("segmentation")
    fine = draft.conv(draft.input(1, 48, 64, 3), 8, 3, 2, Activation.RELU)
    x = draft.conv(fine, 16, 3, 2, Activation.RELU)
    x = draft.conv(draft.conv(x, 16, 3, activation=Activation.RELU), 8)
    x = draft.add(ResizeBilinear((24, 32), half_pixel=True), x, quant=x.quant)
    x = draft.conv(draft.add(Add(), x, fine), 12, 3)
    scores = draft.add(ResizeBilinear((48, 64), half_pixel=True), x, quant=x.quant)
    classes = Tensor("classes", scores.shape[:3], DType.INT32)
    graph = draft.graph(scores)
    best = Node("best", ArgMax(3), (scores.name,), (classes.name,))
    tensors = {**graph.tensors, classes.name: classes}
    nodes = (*graph.nodes, best)
    return verify(replace(graph, nodes=nodes, tensors=tensors, outputs=(classes.name,)))


def test_a_decoder_never_holds_its_largest_map(tmp_path: Path) -> None:
    graph = segmentation()
    scores, classes = (graph.tensors[name] for name in (graph.nodes[-1].inputs[0], *graph.outputs))
    plan = plan_model(graph, fed=True)
    assert plan_layers(graph).arena_bytes >= scores.nbytes + classes.nbytes
    assert plan.arena_bytes < classes.nbytes + scores.nbytes // 4
    assert_right(graph, plan, tmp_path)


def test_a_decoder_runs_in_the_emulator(tmp_path: Path) -> None:
    board, graph = load_board("nucleo_f446re"), segmentation()
    plan = check_plan(graph, plan_model(graph, board, fed=True))
    network = Network(graph, plan, board, project_files(graph, plan, board, name="model"))
    inputs = network.inputs(0)
    done = network.emulator(tmp_path).run(inputs)
    for expected, got in zip(run(graph, inputs), done.outputs, strict=True):
        np.testing.assert_array_equal(got, expected)
