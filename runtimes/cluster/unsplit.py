"""All ranks of a model in one process, with any exchange in numpy: what a split must equal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from runtimes.cluster.arrays import F32, IntArray, Partial, array_of, rows_of
from runtimes.cluster.buffers import Rows
from runtimes.cluster.engine import Engine
from runtimes.cluster.exchange import LocalExchange
from runtimes.cluster.payload import open_codec
from runtimes.cluster.step import run_layers
from runtimes.cluster.wire import Encoding

Sum: TypeAlias = Callable[[Sequence[Partial]], Partial]


class ArrayExchange:
    """An exchange that is a function of arrays; see `runtimes.cluster.exchange.Exchange`.

    Args:
        add: what the network would do to the partial sums of one block, (n, hidden) each.
    """

    def __init__(self, add: Sum) -> None:
        self._add = add

    def all_reduce(self, step: int, block: int, partials: Mapping[int, Rows]) -> Rows:
        """See `runtimes.cluster.exchange.Exchange.all_reduce`."""
        del step, block
        return rows_of(self._add([array_of(partials[rank]) for rank in sorted(partials)]))


def run_unsplit(
    engines: Sequence[Engine],
    tokens: Sequence[int] | IntArray,
    *,
    slot: int = 0,
    position: int = 0,
    exchange: Sum | None = None,
) -> F32:
    """Run tokens through all ranks of a model in this process.

    Args:
        engines: every rank's engine, in rank order (one engine: the unsplit model).
        tokens: (n,) token ids.
        slot: which sequence.
        position: of the first token.
        exchange: of `ArrayExchange`; the sum as it is by default.

    Returns:
        (n, vocab) float32 logits.
    """
    plain = LocalExchange(open_codec(Encoding.F32, 0))
    hidden = run_layers(
        dict(enumerate(engines)),
        plain if exchange is None else ArrayExchange(exchange),
        engines[0].embed([int(token) for token in tokens]),
        step=0,
        slot=slot,
        position=position,
    )
    return np.concatenate([array_of(engine.logits(hidden)) for engine in engines], axis=1)
