"""The contract between the arithmetic of a rank and everything around it.

One token runs like this on every rank; only the sums cross the network::

    hidden = engine.embed(tokens)                                   # head, sent to all
    for layer in range(config.layers):
        for block in (Block.ATTENTION, Block.FEED_FORWARD):
            total  = exchange(run_block(engine, block, layer, hidden, ...))
            hidden = engine.combine(layer, block, hidden, total)
    logits = gather(engine.logits(hidden[-1:]))

``n`` positions go through at a time: chunks of a prompt, or a batch of guessed tokens that is
verified at the cost of one exchange per block. A *slot* is one independent sequence.

In reproducible mode partial sums are int64 in units of 2^-24: integer addition has no order, so
logits are equal bit for bit however many ranks took part and however their sums were exchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from toolchain.cluster.config import ModelConfig
from toolchain.cluster.split import Share

F32: TypeAlias = npt.NDArray[np.float32]
IntArray: TypeAlias = npt.NDArray[np.integer]
Partial: TypeAlias = npt.NDArray[np.float32] | npt.NDArray[np.int64]

FIXED_POINT = 1 << 24  # units of one in the int64 partial sums of reproducible mode


class Block(IntEnum):
    """The two parts of a layer; each ends in a sum over all ranks."""

    ATTENTION = 0
    FEED_FORWARD = 1


class Engine(Protocol):
    """One rank's share of one model. Calls come from one thread, in the order of the network.

    Attributes:
        config: the model.
        share: what this rank holds of it.
        slots: independent sequences that have a key/value cache.
        capacity: most positions per slot.
        reproducible: partial sums are int64 fixed point instead of float32.
    """

    config: ModelConfig
    share: Share
    slots: int
    capacity: int
    reproducible: bool

    def embed(self, tokens: IntArray) -> F32:
        """Look up embedding rows (head only).

        Args:
            tokens: (n,) token ids.

        Returns:
            (n, hidden) float32.

        Raises:
            UsageError: E112, a token id is outside the vocabulary.
        """
        ...

    def attention(self, layer: int, hidden: F32, slot: int, position: int) -> Partial:
        """Own heads of one attention block; stores keys and values of the new positions.

        Args:
            layer: 0-based layer.
            hidden: (n, hidden) float32, the residual stream.
            slot: which sequence.
            position: of the first row; earlier positions must have been stored.

        Returns:
            (n, hidden) partial sum.

        Raises:
            UsageError: E113, slot or positions are outside the cache.
        """
        ...

    def feed_forward(self, layer: int, hidden: F32) -> Partial:
        """Own columns of one feed-forward block: (n, hidden) to an (n, hidden) partial sum."""
        ...

    def combine(self, layer: int, block: Block, hidden: F32, total: Partial) -> F32:
        """Add the sum over all ranks to the residual stream (post norm included).

        Args:
            layer: 0-based layer.
            block: which block the sum belongs to.
            hidden: (n, hidden) float32 before the block.
            total: (n, hidden) sum over all ranks; float32, or int64 fixed point.

        Returns:
            (n, hidden) float32 after the block; ``hidden`` itself may have been reused for it.
        """
        ...

    def logits(self, hidden: F32) -> F32:
        """Compute own classifier rows: (n, hidden) to (n, len(share.vocab))."""
        ...

    def truncate(self, slot: int, length: int) -> None:
        """Forget positions ``length`` and later of a slot (0 frees the whole sequence)."""
        ...

    def close(self) -> None:
        """Free memory, files and threads; may be called twice."""
        ...


Exchange: TypeAlias = Callable[[Sequence[Partial]], Partial]


def run_block(
    engine: Engine, block: Block, layer: int, hidden: F32, *, slot: int, position: int
) -> Partial:
    """Compute one block of one rank: `Engine.attention` or `Engine.feed_forward`."""
    if block is Block.ATTENTION:
        return engine.attention(layer, hidden, slot, position)
    return engine.feed_forward(layer, hidden)


def sum_in_rank_order(partials: Sequence[Partial]) -> Partial:
    """Add partial sums as every rank does: rank 0 first."""
    total = partials[0].copy()
    for partial in partials[1:]:
        total += partial
    return total


def run_unsplit(
    engines: Sequence[Engine],
    tokens: IntArray,
    *,
    slot: int = 0,
    position: int = 0,
    rows: int | None = None,
    exchange: Exchange = sum_in_rank_order,
) -> F32:
    """Run tokens through all ranks of a model in this process, without a network.

    Args:
        engines: every rank's engine, in rank order (one engine: the unsplit model).
        tokens: (n,) token ids.
        slot: which sequence.
        position: of the first token.
        rows: of how many of the last positions the logits are wanted; all by default.
        exchange: what the network would do to the partial sums of one block.

    Returns:
        (rows, vocab) float32 logits.
    """
    head = engines[0]
    states = [head.embed(tokens)] + [head.embed(tokens) for _ in engines[1:]]
    for layer in range(head.config.layers):
        for block in Block:
            total = exchange(
                [
                    run_block(engine, block, layer, state, slot=slot, position=position)
                    for engine, state in zip(engines, states, strict=True)
                ]
            )
            states = [
                engine.combine(layer, block, state, total)
                for engine, state in zip(engines, states, strict=True)
            ]
    first = 0 if rows is None else max(0, len(tokens) - rows)
    if first == len(tokens):  # do not wait for the classifier to stream in
        return np.empty((0, head.config.vocab), np.float32)
    columns = [engine.logits(state[first:]) for engine, state in zip(engines, states, strict=True)]
    return np.concatenate(columns, axis=1)
