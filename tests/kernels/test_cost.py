"""Estimates of the kernels' cost against the emulator's exact counts."""

from __future__ import annotations

import itertools
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.networks import wake_word
from boards import Board, load_board
from codegen.project import project_files
from nas.draft import Draft
from nas.layer_list import Block, LayerList, build_graph
from runtimes.emulator.choose import open_emulator
from runtimes.emulator.emulator import Emulator
from runtimes.toolchains import build_firmware, gcc
from tests.kernels.random_layers import (
    as_it_is,
    binary,
    convolution,
    depthwise,
    drawn,
    fully_connected,
    mean,
    pointwise,
    pool,
    side_by_side,
    widened,
    with_nibbles,
    with_zero_points,
)
from tests.kernels.random_others import CORTEX_M4_ALONE, OTHERS, lstm, svdf
from toolchain.cli.arguments import random_cases
from toolchain.ir import Graph
from toolchain.kernels import Isa
from toolchain.kernels.cost import ERROR
from toolchain.kernels.depthwise_pairs_dsp import DepthwisePairsDsp
from toolchain.numerics import Activation
from toolchain.passes import simplify
from toolchain.plan import LayerStage, plan_layers
from toolchain.plan.lowering import lower, specialise

BOARD = "nucleo_l4r5zi"
SMALL = 1000
WALKS = ("average_pool2d_dsp", "max_pool2d_dsp", "mean_dsp")  # prices of `toolchain.kernels.price`

# GCC keeps what their innermost loops need in registers for some shapes and not for others: layers
# are known within a factor of two only, and no sum of few.
UNEVEN = ("transpose_conv", "batch_matmul")
# On Armv6-M, whether GCC knows of short copies that both ends are aligned decides what they take.
SHORT_COPIES = ("copy", "resize_nearest")


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
        if estimate and stage.kernel.endswith("_dsp") and stage.kernel not in WALKS:
            checked.add(stage.kernel)
            estimated, counted = estimated + estimate, counted + layer.instructions
            if layer.instructions > SMALL:
                assert abs(estimate / layer.instructions - 1) <= ERROR, stage
    assert abs(estimated / counted - 1) <= ERROR / 2
    assert plan.instructions >= estimated
    assert len(checked) >= 4


def rows_by_pairs() -> Graph:
    """Return random depthwise layers of 5 and 7 rows, as wide as those of image networks."""
    rng, draft = np.random.default_rng(6), Draft("layers", 6)
    makers = itertools.product((5, 7), (1, 2), (Activation.NONE, Activation.RELU6))
    return draft.graph(
        *(
            draft.depthwise(
                draft.input(1, 12, int(rng.integers(9, 45)), 4 * int(rng.integers(4, 12))),
                (size, size),
                step,
                activation,
            )
            for size, step, activation in makers
        )
    )


@pytest.mark.slow
@pytest.mark.skipif(gcc() is None, reason="the constants are those of GCC's code")
@pytest.mark.parametrize("lanes", [1, 4])
def test_estimates_of_pairs_of_rows_are_within_the_stated_error(
    lanes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("toolchain.kernels._SPECIAL", (DepthwisePairsDsp(lanes=lanes),))
    for kernel, estimate, count in measured(
        rows_by_pairs(), Isa.DSP, load_board("emulator_m4_16m"), tmp_path
    ):
        assert kernel == "depthwise_pairs_dsp"
        assert abs(estimate / count - 1) <= ERROR


def beside() -> Graph:
    """Return random layers that the DSP extension runs with kernels beside those above."""
    weighted = (pointwise, convolution, fully_connected)
    made = [as_it_is(drawn(make, 5, 1)) for make in (pool, mean, binary)]
    made += [with_nibbles(drawn(make, 4, 2)) for make in weighted]
    made += [with_zero_points(drawn(make, 4, 3)) for make in (*weighted, depthwise)]
    return side_by_side(made + [widened(drawn(make, 4, 4)) for make in (*weighted, depthwise)])


def every() -> Graph:
    """Return random layers of int8."""
    makers = pool, mean, binary, pointwise, convolution, depthwise, fully_connected
    return side_by_side(drawn(make, 4, 5) for make in makers)


def measured(graph: Graph, isa: Isa, board: Board, folder: Path) -> Iterator[tuple[str, int, int]]:
    """Yield kernel, estimate and count of every layer."""
    plan = plan_layers(graph, isa)
    firmware = build_firmware(project_files(graph, plan, board, name="model"), board, folder)
    with open_emulator(firmware, board, graph, plan.hash) as emulator:
        done = emulator.run(random_cases(graph.input_tensors, 1, 0)[0])
    stages = [s for s in plan.stages if isinstance(s, LayerStage) and s.kernel]
    nodes = {node.name: node for node in graph.nodes}
    for stage, layer in zip(stages, done.layers, strict=True):
        node = nodes[stage.node]
        lowered = lower(node.op, graph.operands(node))
        yield stage.kernel, specialise(lowered, stage.kernel)[1].cost(isa), layer.instructions


@pytest.mark.slow
@pytest.mark.skipif(gcc() is None, reason="the constants are those of GCC's code")
@pytest.mark.parametrize(
    ("draw", "isa", "board_id", "kinds"),
    [
        (beside, Isa.DSP, "emulator_m4_16m", 12),
        (every, Isa.PORTABLE, "emulator_m4_16m", 6),
        (every, Isa.MVE, "qemu_an547", 6),
        (every, Isa.ARMV6M, "emulator_m0plus_16m", 6),
    ],
)
def test_every_family_has_an_estimate_within_a_sixth(
    draw: Callable[[], Graph], isa: Isa, board_id: str, kinds: int, tmp_path: Path
) -> None:
    board = load_board(board_id)
    if not board.emulation.unicorn and shutil.which("qemu-system-arm") is None:
        pytest.skip("needs qemu-system-arm")
    assert_near(measured(draw(), isa, board, tmp_path), kinds)


@pytest.mark.slow
@pytest.mark.skipif(gcc() is None, reason="the constants are those of GCC's code")
@pytest.mark.parametrize(("isa", "kinds"), [(Isa.PORTABLE, 22), (Isa.DSP, 2), (Isa.ARMV6M, 17)])
def test_every_other_kernel_has_an_estimate_within_a_sixth(
    isa: Isa, kinds: int, tmp_path: Path
) -> None:
    board = load_board("emulator_m0plus_16m" if isa is Isa.ARMV6M else "emulator_m4_16m")
    rng, makers = np.random.default_rng(9), (lstm, svdf) if isa is Isa.DSP else OTHERS
    if isa is Isa.PORTABLE:
        makers = (*makers, *CORTEX_M4_ALONE)
    graphs = (side_by_side(make(rng) for _ in range(8)) for make in makers)
    found = (measured(graph, isa, board, tmp_path / str(i)) for i, graph in enumerate(graphs))
    every = itertools.chain.from_iterable(found)
    left_out = SHORT_COPIES if isa is Isa.ARMV6M else ()
    assert_near((layer for layer in every if layer[0] not in left_out), kinds)


def assert_near(found: Iterable[tuple[str, int, int]], kinds: int) -> None:
    """Compare estimates with counts: those of layers, and the sums of ``kinds`` kernels or more.

    Args:
        found: kernel, estimate and count of layers.
        kinds: so many kernels are compared at least.
    """
    sums: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for kernel, estimate, count in found:
        assert estimate, kernel
        even = not kernel.startswith(UNEVEN)
        if count > SMALL:
            assert abs(np.log(estimate / count)) < np.log(1.4 if even else 2), kernel
        if even:
            sums[kernel] = sums[kernel][0] + estimate, sums[kernel][1] + count
    shares = {k: estimate / count for k, (estimate, count) in sums.items() if count > SMALL}
    assert not {k: share for k, share in shares.items() if abs(share - 1) > 1 / 6}
    assert len(shares) >= kinds
