"""Estimates of the kernels' cost against the emulator's exact counts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.networks import wake_word
from boards import load_board
from codegen.project import project_files
from nas.layer_list import Block, LayerList, build_graph
from runtimes.emulator.emulator import Emulator
from runtimes.toolchains import build_firmware, gcc
from toolchain.cli.arguments import random_cases
from toolchain.ir import Graph
from toolchain.kernels import Isa
from toolchain.kernels.cost import ERROR
from toolchain.passes import simplify
from toolchain.plan import LayerStage, plan_layers
from toolchain.plan.lowering import lower, specialise

BOARD = "nucleo_l4r5zi"
SMALL = 1000


def bottlenecks() -> Graph:
    """Return a network with kernels of all sizes, odd channels, gates and shortcuts."""
    blocks = (
        Block(0, 13, 3, 1, residual=False),
        Block(52, 20, 3, 2, residual=False),
        Block(72, 20, 5, 1, residual=True, squeeze=10),
        Block(63, 27, 7, 2, residual=False),
        Block(108, 27, 3, 1, residual=True),
    )
    return simplify(build_graph(LayerList("n", (50, 44), 3, (3, 2, 16), blocks, 96, 10)))


@pytest.mark.slow
@pytest.mark.skipif(gcc() is None, reason="the constants are those of GCC's code")
@pytest.mark.parametrize("draw", [bottlenecks, wake_word])
def test_estimates_are_within_the_stated_error(draw: Callable[[], Graph], tmp_path: Path) -> None:
    graph, board = simplify(draw()), load_board(BOARD)
    plan = plan_layers(graph, Isa.DSP)
    firmware = build_firmware(project_files(graph, plan, board, name="model"), board, tmp_path)
    emulator = Emulator(firmware, board, graph, plan.hash)
    done = emulator.run(random_cases(graph.input_tensors, 1, 0)[0])
    stages = [s for s in plan.stages if isinstance(s, LayerStage) and s.kernel]
    checked, estimated, counted = set(), 0, 0
    for stage, layer in zip(stages, done.layers, strict=True):
        node = next(node for node in graph.nodes if node.name == stage.node)
        estimate = specialise(lower(node.op, graph.operands(node)), stage.kernel)[1].instructions
        if estimate and stage.kernel.endswith("_dsp"):
            checked.add(stage.kernel)
            estimated, counted = estimated + estimate, counted + layer.instructions
            if layer.instructions > SMALL:
                assert abs(estimate / layer.instructions - 1) <= ERROR, stage
    assert abs(estimated / counted - 1) <= ERROR / 2
    assert plan.instructions >= estimated
    assert len(checked) >= 4
