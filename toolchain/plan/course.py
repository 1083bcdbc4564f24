"""Course: what a stream has alive from one row to the next, for longer and longer streams.

A map that is read for the last time shrinks while a whole output grows, and a ring is empty before
its first row and behind its last: all of them may share bytes. The most that is alive at one time
is what a layout can reach at best; that all lie side by side is what it needs at worst.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from toolchain.ir.tensor import Tensor
from toolchain.plan.flow import Flow
from toolchain.plan.rows import RowWork, row_bytes

_Bytes = npt.NDArray[np.int64]


class Course:
    """Bytes alive at every row that a stream makes.

    Args:
        flow: what a run of the longest stream has shown.
    """

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        turns = [(time, p) for p, found in enumerate(flow.turns) for time in found]
        times, positions = zip(*sorted(turns), strict=True)
        self._times, self._positions = np.array(times), np.array(positions)
        self._alive: _Bytes = np.zeros(len(turns), np.int64)

    def grow(self, position: int) -> None:
        """Count the output of ``position`` as a whole map, row by row as it is made."""
        self._alive += self._whole(position)

    def enclose(self, position: int, rows: int) -> None:
        """Count the output of ``position``, until now a whole map, as a ring of ``rows``."""
        ring = np.minimum(self._made(position), rows) * row_bytes(self._output(position))
        used = self._times <= self._flow.used[position]
        self._alive += ring * used - self._whole(position)

    def drain(self, views: Sequence[Tensor]) -> None:
        """Take from a map that is alive from the start what no row needs any more.

        Args:
            views: the tensors that lie there and that the stream reads.
        """
        for position, lows in enumerate(self._flow.lows if views else ()):
            gone = [np.minimum(np.array(lows[v.name]) * row_bytes(v), v.nbytes) for v in views]
            self._alive[self._positions == position] -= np.min(gone, axis=0).astype(np.int64)

    def peak(self, passing: Sequence[int]) -> int:
        """Return the most bytes alive at one time in the stream of the positions in ``passing``.

        Args:
            passing: bytes that are needed only while a position makes a row.
        """
        busy = self._positions < len(passing)
        return int((self._alive[busy] + np.array(passing)[self._positions[busy]]).max())

    def _output(self, position: int) -> Tensor:
        return self._flow.workers[position].output

    def _made(self, position: int) -> _Bytes:
        """Return the rows made so far, the one that is made now among them."""
        return np.cumsum(self._positions == position)

    def _whole(self, position: int) -> _Bytes:
        worker, made = self._flow.workers[position], self._made(position)
        if isinstance(worker, RowWork) and worker.folds:
            return np.where(made > 0, worker.output.nbytes, 0)
        return made * row_bytes(worker.output)
