"""The row-liveness bound on networks small enough to count by hand."""

from __future__ import annotations

from benchmarks.row_bound import row_bound
from nas.layer_list import Block, LayerList, build_graph
from toolchain.plan import pareto


def layers(*blocks: Block, classes: int = 2) -> LayerList:
    return LayerList("n", (8, 8), 1, (3, 1, 4), blocks, 0, classes)


def test_rows_of_a_stem_flow_into_the_pool() -> None:
    # The last row of the stem: 2 rows of 8 bytes before it, the new row of 32; the pool's 4 bytes.
    assert row_bound(build_graph(layers()), fed=True) == 3 * 8 + 32
    # Resident: before the first row all 64 bytes of the input are there, then one row of 32.
    assert row_bound(build_graph(layers()), fed=False) == 64 + 32


def test_a_depthwise_row_is_not_stored() -> None:
    graph = build_graph(layers(Block(0, 4, 3, 1, residual=False)))
    # 3 rows of the input are there while the stem makes its third row; or 3 rows of the stem and
    # one of the block while the next two rows of the input wait.
    assert row_bound(graph, fed=True) == max(3 * 8 + 3 * 32, 2 * 8 + 3 * 32 + 32)


def test_plans_of_bottlenecks_are_not_below_the_bound() -> None:
    blocks = (Block(0, 4, 3, 1, residual=False), Block(8, 6, 5, 2, residual=False))
    graph = build_graph(layers(*blocks, Block(12, 6, 3, 1, residual=True)))
    for fed in (False, True):
        plans = [plan for plan in pareto(graph, fed=fed) if not plan.recomputed_macs]
        assert plans
        assert all(plan.arena_bytes >= row_bound(graph, fed=fed) for plan in plans)
