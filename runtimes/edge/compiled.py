"""A network compiled to machine code, called through ctypes."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from .ports import Array, predict, read_package, same_count


class Network:
    """One instance: an arena of its own, and states that live between calls.

    Instances share code and weights. One instance must not be called from two threads at once;
    `run` uses several threads itself for a batch of a network without states.

    Args:
        folder: holds ``network.json`` and the library; the package's own by default.

    Raises:
        OSError: the library is missing or made for another machine.
    """

    def __init__(self, folder: Path | None = None) -> None:
        package = read_package(folder)
        facts = package.facts
        self.inputs, self.outputs = package.inputs, package.outputs
        self.stateful: bool = facts["states"] > 0
        self._words = -(-int(facts["arena_bytes"]) // 8)
        self._library = ctypes.CDLL(str(package.folder / facts["library"]))
        self._start = getattr(self._library, f"{facts['prefix']}_start")
        self._batch = getattr(self._library, f"{facts['prefix']}_batch")
        self._start.restype = self._batch.restype = None
        self._arenas = [self._arena()]

    def run(self, *inputs: Array, threads: int | None = None) -> tuple[Array, ...]:
        """Run one case or a batch.

        Args:
            inputs: one array per port, of its shape and element type, or (N, ...) for N cases; a
                network with states takes the N cases as successive steps.
            threads: at most this many, by default as many as the process may use.

        Returns:
            One array (N, ...) per output.

        Raises:
            ValueError: a wrong number of arrays, shape or element type.
        """
        arrays, count = same_count(self.inputs, inputs)
        outputs = tuple(np.empty((count, *p.case), p.dtype) for p in self.outputs)
        workers = 1 if self.stateful else max(1, min(threads or _cores(), count))
        while len(self._arenas) < workers:
            self._arenas.append(self._arena())
        ends = [count * i // workers for i in range(workers + 1)]
        if workers == 1:
            self._part(0, ends, arrays, outputs)
        else:
            with ThreadPoolExecutor(workers) as pool:
                list(pool.map(lambda i: self._part(i, ends, arrays, outputs), range(workers)))
        return outputs

    def predict(self, *values: Array) -> tuple[Array, ...]:
        """Run on real values and return real values; see `run`."""
        return predict(self, values)

    def reset(self) -> None:
        """Forget all calls: states take their initial values."""
        self._start(self._arenas[0].ctypes.data_as(ctypes.c_void_p))

    def _arena(self) -> Array:
        arena = np.zeros(max(1, self._words), np.uint64)
        self._start(arena.ctypes.data_as(ctypes.c_void_p))
        return arena

    def _part(
        self, i: int, ends: Sequence[int], inputs: Sequence[Array], outputs: Sequence[Array]
    ) -> None:
        memory = self._arenas[i].ctypes.data_as(ctypes.c_void_p)
        self._batch(memory, ends[i], ends[i + 1], _addresses(inputs), _addresses(outputs))


def _addresses(arrays: Sequence[Array]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
