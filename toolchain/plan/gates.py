"""Gates: maps that are read again after a pool over them, and the nodes to make them anew.

Squeeze-and-excite (J. Hu et al., CVPR 2018) scales a map by what becomes of its mean. Nothing here
knows that: a map counts whose fold (`Op.fold`) has descendants that read the map as well, whatever
they do with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from toolchain.ir.graph import Graph, Node
from toolchain.plan.plan import Repeat
from toolchain.plan.rows import RowWork


@dataclass(frozen=True)
class _Cone:
    """Nodes that end in a map, in order, and bytes that must be kept to execute them later."""

    nodes: tuple[Node, ...]
    kept: int


def gate_repeats(
    graph: Graph, order: Sequence[Node], rows: Sequence[RowWork | None]
) -> tuple[Repeat, ...]:
    """Return for each gated map the nodes to execute again, so that it need not be kept.

    They reach back to where least must be kept instead. Repeats share no nodes, so that any of
    them can be chosen without the others.

    Args:
        graph: the graph.
        order: its nodes in order of execution.
        rows: those of them that work row by row.
    """
    return tuple(_Gates(graph, order, rows).repeats())


class _Gates:
    def __init__(self, graph: Graph, order: Sequence[Node], rows: Sequence[RowWork | None]) -> None:
        self.graph, self.order, self.rows = graph, order, rows
        self.step = {node.name: step for step, node in enumerate(order)}
        self.states = {name for state in graph.states for name in (state.read, state.write)}
        self.taken: set[str] = set()

    def repeats(self) -> Iterator[Repeat]:
        ends: dict[str, int] = {}
        for name, gate in self._gated():
            if name not in self.graph.sinks:
                ends[name] = min(gate, ends.get(name, gate))
        self.taken = {
            reader.name
            for name, gate in ends.items()
            for reader in self.graph.consumers[name]
            if self.step[reader.name] >= gate
        }
        for name, gate in ends.items():
            cone = self._cone(name, gate)
            if cone is not None and cone.kept < self.graph.tensors[name].nbytes:
                names = tuple(node.name for node in cone.nodes)
                self.taken.update(names)
                yield Repeat(names, self._late(cone, gate))

    def _gated(self) -> Iterator[tuple[str, int]]:
        """Yield maps with the first step that reads them and what a fold of them has become."""
        for work in self.rows:
            if work is None or not work.folds:
                continue
            name, later = work.operands.input(0).name, self._descendants(work.node)
            readers = {reader.name for reader in self.graph.consumers[name]}
            if both := readers & later:
                yield name, min(self.step[reader] for reader in both)

    def _descendants(self, node: Node) -> set[str]:
        found: set[str] = set()
        waiting = [node]
        while waiting:
            for name in waiting.pop().outputs:
                new = [user for user in self.graph.consumers[name] if user.name not in found]
                found.update(user.name for user in new)
                waiting += new
        return found

    def _cone(self, name: str, gate: int) -> _Cone | None:
        """Return the nodes to execute again: the first, going back, before which less is kept."""
        best: _Cone | None = None
        nodes: dict[int, Node] = {}
        maker = self.graph.producers.get(name)
        while maker is not None and self._repeatable(maker):
            nodes[self.step[maker.name]] = maker
            cone = self._kept([nodes[step] for step in sorted(nodes)], gate)
            if best is not None and cone.kept >= best.kept:
                if best.kept < self.graph.tensors[name].nbytes:
                    break
            else:
                best = cone
            if not cone.kept:
                break
            maker = self._before(nodes)
        return best

    def _repeatable(self, node: Node) -> bool:
        work = self.rows[self.step[node.name]]
        lasting = self.states.intersection((*node.inputs, *node.outputs))
        return work is not None and not work.folds and node.name not in self.taken and not lasting

    def _kept(self, nodes: Sequence[Node], gate: int) -> _Cone:
        """Return the nodes with the bytes of what they read that nobody else keeps until then."""
        made = {name for node in nodes for name in node.outputs}
        read = {name for node in nodes for name in node.inputs if name and name not in made}
        kept = [
            tensor.nbytes
            for tensor in (self.graph.tensors[name] for name in sorted(read))
            if not tensor.is_constant and not self._lives(tensor.name, gate)
        ]
        return _Cone(tuple(nodes), sum(kept))

    def _lives(self, name: str, gate: int) -> bool:
        readers = (self.step[reader.name] for reader in self.graph.consumers[name])
        return name in self.graph.sinks or max(readers, default=-1) >= gate

    def _before(self, nodes: Mapping[int, Node]) -> Node | None:
        """Return the last node that makes what ``nodes`` read, ``None`` if nothing more is made."""
        read = (name for node in nodes.values() for name in node.inputs if name)
        makers = (self.graph.producers.get(name) for name in read)
        steps = {self.step[maker.name] for maker in makers if maker is not None} - nodes.keys()
        return self.order[max(steps)] if steps else None

    def _late(self, cone: _Cone, gate: int) -> tuple[str, ...]:
        """Return the readers of what ``cone`` makes, from the gate on."""
        inside = {node.name for node in cone.nodes}
        made = (name for node in cone.nodes for name in node.outputs)
        readers = {reader.name for name in made for reader in self.graph.consumers[name]}
        late = (name for name in readers - inside if self.step[name] >= gate)
        return tuple(sorted(late, key=lambda name: self.step[name]))
