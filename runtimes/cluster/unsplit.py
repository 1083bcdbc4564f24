"""All ranks of a model in one process, without a network: what a split must equal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from runtimes.cluster.arrays import F32, IntArray, Partial, array_of, rows_of
from runtimes.cluster.buffers import Rows
from runtimes.cluster.engine import Block, Engine, run_block

Exchange: TypeAlias = Callable[[Sequence[Partial]], Partial]


def sum_in_rank_order(partials: Sequence[Partial]) -> Partial:
    """Add partial sums, rank 0 first."""
    total = partials[0].copy()
    for partial in partials[1:]:
        total += partial
    return total


def run_unsplit(
    engines: Sequence[Engine],
    tokens: Sequence[int] | IntArray,
    *,
    slot: int = 0,
    position: int = 0,
    rows: int | None = None,
    exchange: Exchange = sum_in_rank_order,
) -> F32:
    """Run tokens through all ranks of a model in this process.

    Args:
        engines: every rank's engine, in rank order (one engine: the unsplit model).
        tokens: (n,) token ids.
        slot: which sequence.
        position: of the first token.
        rows: of how many of the last positions the logits are wanted; all by default.
        exchange: what the network would do to the partial sums of one block, (n, hidden) each.

    Returns:
        (rows, vocab) float32 logits.
    """
    head, ids = engines[0], [int(token) for token in tokens]
    states = [head.embed(ids) for _ in engines]
    for layer in range(head.config.layers):
        for block in Block:
            partials = [
                run_block(engine, block, layer, state, slot=slot, position=position)
                for engine, state in zip(engines, states, strict=True)
            ]
            total = _total(partials, exchange)
            states = [
                engine.combine(layer, block, state, total)
                for engine, state in zip(engines, states, strict=True)
            ]
    wanted = len(ids) if rows is None else min(rows, len(ids))
    if wanted == 0:  # do not wait for the classifier to stream in
        return np.empty((0, head.config.vocab), np.float32)
    columns = [
        array_of(engine.logits(state.last(wanted)))
        for engine, state in zip(engines, states, strict=True)
    ]
    return np.concatenate(columns, axis=1)


def _total(partials: Sequence[Rows], exchange: Exchange) -> Rows:
    if len(partials) == 1 and exchange is sum_in_rank_order:
        return partials[0]  # a model on one device: nothing to add
    return rows_of(exchange([array_of(partial) for partial in partials]))
