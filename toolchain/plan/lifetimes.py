"""Lifetimes: which buffers an order of execution needs, from which step to which."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from toolchain.ir.graph import Graph, Node, Operands
from toolchain.kernels import Isa, Kernel, Specialised
from toolchain.kernels.cost import products
from toolchain.ops.base import Lowered
from toolchain.plan.lowering import kernels, lower, specialise
from toolchain.plan.overlap import distances

_WORD = 4


@dataclass(frozen=True, eq=False)
class Work:
    """A node made ready for planning: its best kernel and what that kernel needs.

    Attributes:
        node: the node.
        operands: its tensors.
        kernel: the kernel's name, empty for a view that moves nothing.
        scratch_bytes: working memory of the kernel.
        overlaps: for inputs that the output may run over, the least distance in bytes.
        in_place: whether the output may lie exactly on the only input.
        homes: outputs that live in the buffer of an input, by number: a view's in its source's.
        instructions: estimate, by the multiply-accumulates if the kernel has none of its own.
    """

    node: Node
    operands: Operands
    kernel: str
    scratch_bytes: int
    overlaps: Mapping[str, int]
    in_place: bool = False
    homes: Mapping[int, int] = field(default_factory=dict)
    instructions: int = 0


@dataclass(frozen=True)
class Buffer:
    """Memory that tensors (a tensor and its views) or a kernel's scratch need.

    Attributes:
        name: the first tensor, or ``"<node>.scratch"``.
        tensors: the tensors that live in it; empty for scratch.
        size: bytes.
        first: first step that needs it.
        last: last step that needs it.
    """

    name: str
    tensors: tuple[str, ...]
    size: int
    first: int
    last: int


_VIEW = {0: 0}


def prepare(graph: Graph, isa: Isa, *, lean: bool = False) -> dict[str, Work]:
    """Choose a kernel for each node and ask it for its needs.

    Args:
        graph: the graph.
        isa: instruction set.
        lean: whether to take the kernel of least scratch memory, not the first of `candidates`;
            the operator's own portable kernel is taken only if there is no other.
    """
    if not lean:
        return {node.name: next(kernel_works(graph, node, isa)) for node in graph.nodes}
    ways = {node.name: [*kernel_works(graph, node, isa)] for node in graph.nodes}
    able = {name: works[:-1] or works for name, works in ways.items()}
    return {name: min(works, key=lambda w: w.scratch_bytes) for name, works in able.items()}


def kernel_works(graph: Graph, node: Node, isa: Isa) -> Iterator[Work]:
    """Yield the node with each of its kernels, best first."""
    operands = graph.operands(node)
    lowered = lower(node.op, operands)
    if not lowered.kernel:
        yield Work(node, operands, "", 0, {}, homes=_VIEW)
        return
    for kernel in kernels(lowered, isa):
        yield _work(node, operands, lowered, isa, *specialise(lowered, kernel.name))


def _work(
    node: Node,
    operands: Operands,
    lowered: Lowered,
    isa: Isa,
    kernel: Kernel,
    special: Specialised,
) -> Work:
    overlaps: dict[str, int] = {}
    if special.in_order:
        overlaps = distances(node.op.windows(operands), operands, special.blocks)
    return Work(
        node,
        operands,
        kernel.name,
        special.scratch_bytes,
        overlaps,
        in_place=special.in_place,
        homes=lowered.homes,
        instructions=special.cost(isa) or products(node.op.macs(operands), kernel.isa),
    )


def share_places(graph: Graph, isa: Isa, work: Mapping[str, Work]) -> dict[str, Work]:
    """Return ``work`` with every output on its input where a kernel allows it.

    The input must die there: no other node reads it, nor the caller, and it is no view or state.
    """
    found = dict(work)
    for name, done in work.items():
        if len(done.operands.activations) == 1 and _dies(graph, work, done):
            ways = (way for way in kernel_works(graph, done.node, isa) if way.in_place)
            found[name] = next((replace(way, homes=_VIEW) for way in ways), done)
    return found


def _dies(graph: Graph, work: Mapping[str, Work], done: Work) -> bool:
    (name,) = (tensor.name for tensor in done.operands.activations)
    maker = graph.producers.get(name)
    states = (state.read for state in graph.states)
    shared = maker is not None and bool(work[maker.name].homes)
    return not shared and name not in states and graph.read_once(name)


def word_bytes(graph: Graph) -> int:
    """Return what offsets in the arena are multiples of: the largest element, at least 4 bytes."""
    made = (tensor for tensor in graph.tensors.values() if not tensor.is_constant)
    return max(_WORD, *(tensor.dtype.itemsize for tensor in made))


def roots(graph: Graph, work: Mapping[str, Work]) -> dict[str, str]:
    """Return for each activation the tensor whose buffer it lives in, mostly itself."""
    found = {name: name for name in graph.sources}
    for node in graph.nodes:
        homes = work[node.name].homes
        for number, name in enumerate(node.outputs):
            source = node.inputs[homes[number]] if number in homes else None
            found[name] = found.get(source, source) if source is not None else name
    return found


def buffers(
    graph: Graph, work: Mapping[str, Work], order: Sequence[Node], spans: Sequence[tuple[int, int]]
) -> list[Buffer]:
    """Return the buffers of whole tensors when ``order`` is executed.

    Inputs live from the first step; outputs live up to a step of their own behind the last; states
    live in all steps, so that nothing else ever uses their bytes.

    Args:
        graph: the graph.
        work: what each node needs.
        order: its nodes in order of execution.
        spans: per step, first and last step of its stage, in all of which its tensors live.
    """
    root = roots(graph, work)
    first, last = dict.fromkeys(graph.sources, 0), dict.fromkeys(graph.sources, 0)
    for node, (start, end) in zip(order, spans, strict=True):
        for name in node.inputs:
            if name in root:
                last[root[name]] = end
        for name in node.outputs:
            first.setdefault(root[name], start)
            last[root[name]] = end
    for name in graph.sinks:
        last[root[name]] = len(order)
    members: dict[str, list[str]] = {name: [] for name in first}
    for name, owner in root.items():
        members[owner].append(name)
    return [
        Buffer(name, tuple(members[name]), graph.tensors[name].nbytes, first[name], last[name])
        for name in first
    ]
