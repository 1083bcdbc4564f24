"""Repeats: nodes that a plan executes a second time instead of keeping what they made.

A squeeze-and-excite gate needs a whole map twice: its mean, and later the map itself, to be scaled
by what became of the mean. Kept in between, that map is the largest of the network. A plan may
execute the nodes in front of it twice instead, from a smaller tensor that is kept anyway: the first
pass only folds the mean, the second is scaled at once, and in neither the map is ever whole
(rematerialisation, as in T. Chen et al., "Training deep nets with sublinear memory cost", arXiv
1604.06174, section 3, here at inference and row by row).

To plan, check or print such a plan, its repeated nodes are written out: a graph with copies of
them, which make other tensors from the same constants, and equal the first ones bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

from toolchain.errors import FitError
from toolchain.ir.graph import Graph, Node
from toolchain.ir.tensor import Tensor
from toolchain.plan.plan import Repeat

_REMEMBERED = 256


@lru_cache(_REMEMBERED)
def repeated(graph: Graph, repeats: tuple[Repeat, ...]) -> Graph:
    """Return ``graph`` with the copies that ``repeats`` ask for, one after the other.

    The second execution of a node is called ``"<node>#2"``, what it makes ``"<tensor>#2"`` (or #3
    and so on where that name is taken). Equal arguments return the same graph.

    Raises:
        FitError: E303 with the number of the repeat and the node that is unknown, cannot be
            repeated, or is repeated in vain.
    """
    for number, repeat in enumerate(repeats):
        graph = _Copies(graph, repeat, f"repeat {number}").graph()
    return graph


def inserted(order: Sequence[Node], copies: Iterable[Node]) -> tuple[Node, ...]:
    """Return ``order`` with each of ``copies`` in front of the first node that needs it."""
    makers = {name: copy for copy in copies for name in copy.outputs}

    def needed(node: Node) -> Iterator[Node]:
        for name in node.inputs:
            if name in makers:
                copy = makers[name]
                for made in copy.outputs:
                    del makers[made]
                yield from needed(copy)
                yield copy

    return tuple(each for node in order for each in (*needed(node), node))


@lru_cache(4096)
def _renamed(tensor: Tensor, name: str) -> Tensor:
    """Return a tensor of another name, the same object for equal arguments."""
    return replace(tensor, name=name)


class _Copies:
    def __init__(self, graph: Graph, repeat: Repeat, where: str) -> None:
        self.before, self.where = graph, where
        known = {node.name: node for node in graph.nodes}
        for name in (*repeat.nodes, *repeat.readers):
            if name not in known:
                raise self._wrong(f'there is no node "{name}"')
        if len({*repeat.nodes, *repeat.readers}) < len(repeat.nodes) + len(repeat.readers):
            raise self._wrong("names a node twice")
        self.nodes = [node for node in graph.nodes if node.name in repeat.nodes]
        self.readers = frozenset(repeat.readers)
        self.names = {name: _free(graph, name) for node in self.nodes for name in node.outputs}

    def graph(self) -> Graph:
        """Return the graph with each copy in front of its first reader."""
        self._check()
        copies = [self._copy(node) for node in self.nodes]
        users = self.readers
        nodes = [
            replace(node, inputs=self._inputs(node)) if node.name in users else node
            for node in self.before.nodes
        ]
        made = self.before.tensors
        tensors = {new: _renamed(made[old], new) for old, new in self.names.items()}
        return replace(self.before, nodes=inserted(nodes, copies), tensors={**made, **tensors})

    def _copy(self, node: Node) -> Node:
        outputs = tuple(self.names[name] for name in node.outputs)
        name = _free(self.before, node.name)
        return replace(node, name=name, inputs=self._inputs(node), outputs=outputs)

    def _inputs(self, node: Node) -> tuple[str | None, ...]:
        return tuple(self.names.get(name, name) if name else name for name in node.inputs)

    def _check(self) -> None:
        """Refuse what would change results, or computes something that nobody reads."""
        states = {name for state in self.before.states for name in (state.read, state.write)}
        again = {node.name for node in self.nodes}
        if not again:
            raise self._wrong("repeats nothing")
        for node in self.nodes:
            if states.intersection((*node.inputs, *node.outputs)):
                raise self._wrong(f'"{node.name}" reads or updates a state: it must run once')
            for name in node.outputs:
                users = {user.name for user in self.before.consumers[name]}
                if not users & (again | self.readers):
                    raise self._wrong(f'nobody reads what "{node.name}" makes again')
                if not users - self.readers and name not in self.before.sinks:
                    raise self._wrong(f'nobody reads what "{node.name}" makes first')
        for node in self.before.nodes:
            if node.name in self.readers and not self.names.keys() & set(node.inputs):
                raise self._wrong(f'"{node.name}" reads nothing that is made again')

    def _wrong(self, what: str) -> FitError:
        return FitError("E303", what, where=self.where)


def _free(graph: Graph, name: str) -> str:
    """Return a name for the next execution of a node, or for what it makes."""
    taken = {*graph.tensors, *(node.name for node in graph.nodes)}
    return next(new for i in range(2, len(taken) + 3) if (new := f"{name}#{i}") not in taken)
