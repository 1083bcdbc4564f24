"""What generation needs of a model, wherever it runs: in this process or over a cluster.

`runtimes.cluster.head.Head` is one form, `LocalModel` the other: all ranks of a shard folder in
this process, usually one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from runtimes.cluster.buffers import Rows
from runtimes.cluster.engine import Engine
from runtimes.cluster.exchange import LocalExchange
from runtimes.cluster.payload import open_codec
from runtimes.cluster.step import run_layers
from runtimes.cluster.wire import Encoding
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
    ) -> Rows:
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
        self._engines = dict(enumerate(engines))
        self._exchange = LocalExchange(open_codec(Encoding.F32, 0))
        self.config = engines[0].config
        self.slots = min(engine.slots for engine in engines)
        self.capacity = min(engine.capacity for engine in engines)

    def forward(
        self, slot: int, tokens: Sequence[int], position: int, *, rows: int | None = None
    ) -> Rows:
        """Run tokens through the model; see `Forward.forward`."""
        hidden = self._engines[0].embed(tokens)
        hidden = run_layers(
            self._engines, self._exchange, hidden, step=0, slot=slot, position=position
        )
        wanted = len(tokens) if rows is None else min(rows, len(tokens))
        out = Rows.empty(wanted, self.config.vocab)
        if wanted:  # else do not wait for the classifier to stream in
            for engine in self._engines.values():
                out.columns_from(engine.share.vocab.start, engine.logits(hidden.last(wanted)))
        return out

    def truncate(self, slot: int, length: int) -> None:
        """Forget later positions; see `Forward.truncate`."""
        for engine in self._engines.values():
            engine.truncate(slot, length)

    def close(self) -> None:
        """Close all engines."""
        for engine in self._engines.values():
            engine.close()
