"""Models cut into parts, each a model of its own.

Operators are of two kinds, those that become C and those that an engine executes. A part holds as
many of one kind as can run one after the other, so that the kinds change as seldom as possible.
What depends on constants and shapes alone belongs to every part that reads it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any


@dataclass(frozen=True)
class Part:
    """Operators that run one after the other.

    Attributes:
        compiled: whether they become C.
        nodes: their places in the file.
        inputs: the tensors that they read of other parts or of the graph's inputs.
        outputs: the tensors that other parts or the caller read of them.
    """

    compiled: bool
    nodes: tuple[int, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class Cut(ABC):
    """A model whose operators are handed out.

    Attributes:
        kinds: of the operators, in the file's order.
        called: the other names by which users may call each.
        reads: names of the tensors that each reads.
        makes: names of the tensors that each makes.
        inputs: names of the model's inputs.
        outputs: names of its outputs.
    """

    kinds: Sequence[str]
    called: Sequence[Sequence[str]]
    reads: Sequence[Sequence[str]]
    makes: Sequence[Sequence[str]]
    inputs: Sequence[str]
    outputs: Sequence[str]

    @abstractmethod
    def known(self, name: str) -> bool:
        """Tell whether a tensor is a constant of the file, or follows from constants alone."""

    @abstractmethod
    def crosses(self, name: str) -> bool:
        """Tell whether a tensor stands for real numbers, as all between two parts must."""

    @abstractmethod
    def submodel(self, part: Part) -> bytes:
        """Return a part as a file of the model's format."""

    @abstractmethod
    def port(self, name: str) -> dict[str, Any]:
        """Return a tensor as an input or output, a JSON object of `runtimes.edge`."""

    def parts(self, left: Iterable[int]) -> list[Part]:
        """Return the parts when the engine gets the operators ``left``.

        With them go those that hand them, or take from them, anything but real numbers.
        """
        theirs = set(left) & set(self._moving())
        while more := set(self._bound_to(theirs)) - theirs:
            theirs |= more
        found = min((self._waves(theirs, first) for first in (True, False)), key=len)
        return [self._part(compiled, nodes) for compiled, nodes in found]

    @cached_property
    def _maker(self) -> dict[str, int]:
        return {name: i for i, made in enumerate(self.makes) for name in made}

    def _moving(self) -> list[int]:
        """Return the nodes that compute something of the inputs, in the file's order."""
        return [i for i, made in enumerate(self.makes) if not all(self.known(n) for n in made)]

    def _edges(self, i: int) -> Iterator[tuple[str, int | None]]:
        """Yield what a node reads that is computed, and the node that makes it."""
        for name in self.reads[i]:
            if not self.known(name):
                yield name, self._maker.get(name)

    def _bound_to(self, theirs: set[int]) -> Iterator[int]:
        """Yield the nodes on both sides of an edge between the kinds that is not of real numbers.

        The caller is one of the engine's kind.
        """
        for i in self._moving():
            for name, maker in self._edges(i):
                if not self.crosses(name) and (i in theirs) != (maker is None or maker in theirs):
                    yield from (one for one in (i, maker) if one is not None)

    def _waves(self, theirs: set[int], first: bool) -> list[tuple[bool, list[int]]]:
        """Return alternating parts, each as large as what is done allows.

        Args:
            theirs: the engine's operators.
            first: whether compiled ones begin.
        """
        left, done, compiled = self._moving(), set[int](), first
        waves: list[tuple[bool, list[int]]] = []
        while left:
            taken = []
            for i in left:
                ready = all(maker is None or maker in done for _, maker in self._edges(i))
                if (i not in theirs) == compiled and ready:
                    taken.append(i)
                    done.add(i)
            left = [i for i in left if i not in done]
            if taken:
                waves.append((compiled, taken))
            compiled = not compiled
        return waves

    def _part(self, compiled: bool, nodes: Sequence[int]) -> Part:
        inside = set(nodes)
        read = dict.fromkeys(n for i in nodes for n, m in self._edges(i) if m not in inside)
        outside = {n for i in self._moving() if i not in inside for n, _ in self._edges(i)}
        wanted = outside | set(self.outputs)
        made = [n for i in nodes for n in self.makes[i] if n in wanted]
        return Part(compiled, tuple(nodes), tuple(read), tuple(made))
