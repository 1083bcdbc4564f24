"""Hot weights: constants that are copied to RAM at start, where a core reads them without waiting.

What they are and how much RAM they take; `toolchain.plan.heat` chooses them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from toolchain.errors import FitError
from toolchain.ir.graph import Graph, Node
from toolchain.kernels import Specialised
from toolchain.plan.lowering import lower, specialise
from toolchain.plan.plan import LayerStage, Plan, stage_nodes
from toolchain.plan.repeats import repeated
from toolchain.plan.rows import named_row_work

_ALIGNMENT = 4


@dataclass(frozen=True)
class Constants:
    """What a node reads from flash.

    Attributes:
        node: the node's name.
        sizes: bytes of each table, by a digest of its content: nodes may share tables.
        work: multiply-accumulates, outputs of nodes without any.
    """

    node: str
    sizes: dict[str, int]
    work: int

    @property
    def heat(self) -> float:
        """Return the work per byte."""
        return self.work / sum(self.sizes.values())


def hot_bytes(graph: Graph, plan: Plan) -> dict[str, int]:
    """Return the bytes that a plan's hot weights take in each piece of RAM.

    A table that several nodes share lies where the first of them wants it.

    Raises:
        FitError: E303 if the plan names a node that has no constants, or one twice.
    """
    if not plan.hot:
        return {}
    places = {hot.node: hot.region for hot in plan.hot}
    constants = {one.node: one for one in node_constants(graph, plan)}
    names = [hot.node for hot in plan.hot]
    for name in names:
        if name not in constants or names.count(name) > 1:
            raise FitError("E303", "has no weights, or is named twice", where=f'hot "{name}"')
    tables: dict[str, tuple[str, int]] = {}
    for one in (one for one in constants.values() if one.node in places):
        tables = {key: (places[one.node], size) for key, size in one.sizes.items()} | tables
    sizes = dict.fromkeys(places.values(), 0)
    for region, size in tables.values():
        sizes[region] += size
    return sizes


def node_constants(graph: Graph, plan: Plan) -> Iterator[Constants]:
    """Yield the nodes that read constants, in order of execution."""
    whole = repeated(graph, plan.repeats)
    nodes = {node.name: node for node in whole.nodes}
    for stage in plan.stages:
        kernels = (stage.kernel,) if isinstance(stage, LayerStage) else stage.kernels
        steps = (0,) if isinstance(stage, LayerStage) else stage.steps
        for name, kernel, block in zip(stage_nodes(stage), kernels, steps, strict=True):
            if not kernel:
                continue
            node, operands = nodes[name], whole.operands(nodes[name])
            special = _special(whole, node, kernel, block)
            sizes = {
                hashlib.sha256(repr((t.dtype, t.shape)).encode() + t.tobytes()).hexdigest(): (
                    -(-t.nbytes // _ALIGNMENT) * _ALIGNMENT
                )
                for t in special.tables.values()
            }
            if sizes:
                outputs = sum(tensor.nbytes for tensor in operands.outputs)
                yield Constants(name, sizes, max(node.op.macs(operands), outputs))


def _special(graph: Graph, node: Node, kernel: str, block: int) -> Specialised:
    """Return what a kernel needs for ``block`` rows of a stream, for a layer if there are none."""
    operands = graph.operands(node)
    if not block:
        return specialise(lower(node.op, operands), kernel)[1]
    work = named_row_work(node, operands, kernel, block)
    assert work is not None, "a checked plan"
    return work.special
