"""Where the time of a pass goes on this device: computing, waiting for the disk, the exchange."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ParamSpec, TypeVar

from runtimes.cluster.buffers import Rows
from runtimes.cluster.engine import Block, Engine
from runtimes.cluster.step import EngineRequest, OpenEngine

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


@dataclass
class Clock:
    """Sums over the engines of this device.

    Attributes:
        engine_s: inside engines, waits for the disk included.
    """

    engine_s: float = 0.0
    _engines: list[Engine] = field(default_factory=list)

    @property
    def disk_s(self) -> float:
        """Of this, waiting for weights to be read."""
        return sum(float(getattr(engine, "waited_s", 0.0)) for engine in self._engines)

    def opener(self, open_engine: OpenEngine) -> OpenEngine:
        """Return an opener whose engines are timed."""

        def timed(path: Path, request: EngineRequest) -> Engine:
            engine = open_engine(path, request)
            self._engines.append(engine)
            return TimedEngine(engine, self)

        return timed


class TimedEngine:
    """An engine that notes its time; see `runtimes.cluster.engine.Engine`.

    Args:
        engine: does the work.
        clock: takes the time.
    """

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self.config = engine.config
        self.share = engine.share
        self.slots = engine.slots
        self.capacity = engine.capacity
        self.reproducible = engine.reproducible

    def embed(self, tokens: Sequence[int]) -> Rows:
        """Look up embedding rows; see `Engine.embed`."""
        return self._timed(self._engine.embed, tokens)

    def attention(self, layer: int, hidden: Rows, slot: int, position: int) -> Rows:
        """Own heads of an attention block; see `Engine.attention`."""
        return self._timed(self._engine.attention, layer, hidden, slot, position)

    def feed_forward(self, layer: int, hidden: Rows) -> Rows:
        """Own columns of a feed-forward block; see `Engine.feed_forward`."""
        return self._timed(self._engine.feed_forward, layer, hidden)

    def combine(self, layer: int, block: Block, hidden: Rows, total: Rows) -> Rows:
        """Residual addition; see `Engine.combine`."""
        return self._timed(self._engine.combine, layer, block, hidden, total)

    def logits(self, hidden: Rows) -> Rows:
        """Compute own classifier rows; see `Engine.logits`."""
        return self._timed(self._engine.logits, hidden)

    def truncate(self, slot: int, length: int) -> None:
        """Forget later positions; see `Engine.truncate`."""
        self._engine.truncate(slot, length)

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()

    def _timed(
        self,
        function: Callable[_Arguments, _Result],
        *arguments: _Arguments.args,
        **options: _Arguments.kwargs,
    ) -> _Result:
        began = time.perf_counter()
        try:
            return function(*arguments, **options)
        finally:
            self._clock.engine_s += time.perf_counter() - began
