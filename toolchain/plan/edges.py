"""Edges: the stages that a search may choose, as edges from step to step."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Edge:
    """Steps ``[first, end)`` as one stage.

    Attributes:
        first: first step.
        end: step behind the last.
        stream: whether it is a stream, else a single layer.
        need: bytes alive at its worst moment (an estimate: no layout, best overlaps).
        least: the same if all that comes and goes in a stream shares its places.
        work: instructions beyond those of plain layers.
        columns: strips into which its outputs are cut.
        macs: multiply-accumulates that repeat work.
        repeats: whether it executes nodes that have been executed before.
        in_place: whether a layer's output lies on its input.
        blocks: rows that a step of each of its nodes makes, one if there is no entry.
    """

    first: int
    end: int
    stream: bool
    need: int
    least: int
    work: int
    columns: int = 1
    macs: int = 0
    repeats: bool = False
    in_place: bool = False
    blocks: tuple[int, ...] = ()

    def bytes(self, *, shared: bool) -> int:
        """Return ``least`` if all that comes and goes may share its places, else ``need``."""
        return self.least if shared else self.need

    @property
    def once(self) -> bool:
        """Tell whether nothing is computed twice."""
        return self.columns == 1 and not self.repeats
