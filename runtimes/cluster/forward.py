"""What generation needs of a model, wherever it runs: in this process or over a cluster.

`runtimes.cluster.head.Head` is one form, `LocalModel` the other: all ranks of a shard folder in
this process, usually one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from runtimes.cluster.arrays import F32
from runtimes.cluster.engine import Engine
from runtimes.cluster.unsplit import run_unsplit
from toolchain.cluster.config import ModelConfig


class Forward(Protocol):
    """A model with key/value caches for several independent sequences, called by one thread.

    Attributes:
        config: of the model.
        slots: independent sequences.
        capacity: most positions per sequence.
    """

    @property
    def config(self) -> ModelConfig: ...  # noqa: D102

    @property
    def slots(self) -> int: ...  # noqa: D102

    @property
    def capacity(self) -> int: ...  # noqa: D102

    def forward(
        self, slot: int, tokens: Sequence[int], position: int, *, rows: int | None = None
    ) -> F32:
        """Run tokens through the model.

        Args:
            slot: which sequence.
            tokens: (n,) ids.
            position: of the first one; what was at it and behind it is forgotten.
            rows: of how many of the last tokens the logits are wanted; all by default.

        Returns:
            (rows, vocab) float32 logits.

        Raises:
            UsageError: E112 a token outside the vocabulary, E113 slot or position outside the
                cache.
            DeviceError: E520, a cluster lost devices and could not be repaired.
        """
        ...

    def truncate(self, slot: int, length: int) -> None:
        """Forget positions ``length`` and later of a slot."""
        ...

    def close(self) -> None:
        """Free everything; may be called twice."""
        ...


class LocalModel:
    """All ranks of a model in this process.

    Args:
        engines: every rank's, in rank order; closed with the model.
    """

    def __init__(self, engines: Sequence[Engine]) -> None:
        self._engines = tuple(engines)
        self.config = engines[0].config
        self.slots = min(engine.slots for engine in engines)
        self.capacity = min(engine.capacity for engine in engines)

    def forward(
        self, slot: int, tokens: Sequence[int], position: int, *, rows: int | None = None
    ) -> F32:
        """Run tokens through the model; see `Forward.forward`."""
        ids = np.asarray(tokens, np.int64)
        return run_unsplit(self._engines, ids, slot=slot, position=position, rows=rows)

    def truncate(self, slot: int, length: int) -> None:
        """Forget later positions; see `Forward.truncate`."""
        for engine in self._engines:
            engine.truncate(slot, length)

    def close(self) -> None:
        """Close all engines."""
        for engine in self._engines:
            engine.close()
