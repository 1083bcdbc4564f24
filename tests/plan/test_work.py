"""Work: among plans of equal memory the one that takes the fewest instructions."""

from __future__ import annotations

import numpy as np

from boards import load_board
from nas.layer_list import Block, LayerList, build_graph
from tests.plan.networks import random_bottlenecks, random_map_network, random_mobile_network
from toolchain.ir import Graph
from toolchain.kernels import Isa
from toolchain.passes import simplify
from toolchain.plan import LayerStage, plan_layers, plan_model
from toolchain.plan.effort import Watch
from toolchain.plan.lifetimes import prepare

KINDS = (random_map_network, random_bottlenecks, random_mobile_network)
BOARD = load_board("nucleo_l4r5zi")
UNSTAGED = load_board("emulator_m4_16m")  # no waits for the flash: no weights are copied


def test_at_equal_memory_the_least_work_is_chosen() -> None:
    ties = 0
    for seed in range(12):
        graph, watch = KINDS[seed % 3](np.random.default_rng(seed)), Watch()
        plan = plan_model(graph, UNSTAGED, watch=watch)
        rivals = [p.instructions for p in watch.plans if p.arena_bytes == plan.arena_bytes]
        assert plan.instructions == min(rivals), f"seed {seed}"
        ties += len(set(rivals)) > 1
    assert ties


def test_within_a_limit_of_memory_the_least_work_is_chosen() -> None:
    for seed in range(6):
        graph, watch = KINDS[seed % 3](np.random.default_rng(seed)), Watch()
        limit = plan_layers(graph, Isa.DSP).arena_bytes
        plan = plan_model(graph, UNSTAGED, max_ram=limit, watch=watch)
        once = [p for p in watch.plans if p.arena_bytes <= limit and not p.recomputed_macs]
        assert plan.instructions == min(p.instructions for p in once), f"seed {seed}"


def wide_then_narrow() -> Graph:
    """Return a network whose first maps are far larger than its last ones."""
    blocks = (
        Block(0, 8, 3, 1, residual=False),
        Block(0, 16, 3, 2, residual=False),
        Block(0, 16, 3, 2, residual=False),
        Block(0, 16, 3, 1, residual=False),
    )
    return simplify(build_graph(LayerList("n", (48, 48), 3, (3, 2, 8), blocks, 0, 4)))


def test_a_slower_kernel_in_place_is_taken_only_where_it_saves_memory() -> None:
    graph = wide_then_narrow()
    quick = {name: work.kernel for name, work in prepare(graph, Isa.DSP).items()}
    layers = [s for s in plan_model(graph, BOARD).stages if isinstance(s, LayerStage)]
    assert len(layers) > 4
    assert all(stage.kernel == quick[stage.node] for stage in layers[-6:])


def test_slower_kernels_are_no_choice_where_they_save_less_memory_than_they_cost_work() -> None:
    """A wide depthwise kernel makes streams slow; then a slower kernel for 2 % of memory is not."""
    blocks = (
        Block(0, 8, 3, 1, residual=False),
        Block(24, 16, 7, 2, residual=False),
        Block(80, 16, 7, 1, residual=True),
        Block(80, 16, 7, 1, residual=True),
    )
    graph = simplify(build_graph(LayerList("n", (64, 64), 3, (3, 2, 16), blocks, 0, 4)))
    layers, plan = plan_layers(graph, Isa.DSP), plan_model(graph, BOARD, fed=True)
    least = plan_model(graph, BOARD, fed=True, max_macs=1)
    more = least.instructions / plan.instructions - 1
    assert plan.instructions > 1.05 * layers.instructions
    assert least.arena_bytes < plan.arena_bytes
    assert 1 - least.arena_bytes / plan.arena_bytes < more
