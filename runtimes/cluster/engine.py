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

from collections.abc import Sequence
from enum import IntEnum
from typing import Protocol

from runtimes.cluster.buffers import Rows
from toolchain.cluster.config import ModelConfig
from toolchain.cluster.split import Share
from toolchain.errors import UsageError

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

    def embed(self, tokens: Sequence[int]) -> Rows:
        """Look up embedding rows (head only).

        Args:
            tokens: (n,) token ids.

        Returns:
            (n, hidden) float32.

        Raises:
            UsageError: E112, a token id is outside the vocabulary.
        """
        ...

    def attention(self, layer: int, hidden: Rows, slot: int, position: int) -> Rows:
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

    def feed_forward(self, layer: int, hidden: Rows) -> Rows:
        """Own columns of one feed-forward block: (n, hidden) to an (n, hidden) partial sum."""
        ...

    def combine(self, layer: int, block: Block, hidden: Rows, total: Rows) -> Rows:
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

    def logits(self, hidden: Rows) -> Rows:
        """Compute own classifier rows: (n, hidden) to (n, len(share.vocab))."""
        ...

    def truncate(self, slot: int, length: int) -> None:
        """Forget positions ``length`` and later of a slot (0 frees the whole sequence)."""
        ...

    def close(self) -> None:
        """Free memory, files and threads; may be called twice."""
        ...


def run_block(
    engine: Engine, block: Block, layer: int, hidden: Rows, *, slot: int, position: int
) -> Rows:
    """Compute one block of one rank: `Engine.attention` or `Engine.feed_forward`."""
    if block is Block.ATTENTION:
        return engine.attention(layer, hidden, slot, position)
    return engine.feed_forward(layer, hidden)


def check_positions(engine: Engine, slot: int, position: int, n: int) -> None:
    """Refuse a slot or positions outside the key/value cache (E113)."""
    if not (0 <= slot < engine.slots and position >= 0 and position + n <= engine.capacity):
        raise UsageError(
            "E113",
            f"positions {position}..{position + n} of slot {slot} are outside a cache of"
            f" {engine.slots} slots of {engine.capacity}",
        )


def check_tokens(config: ModelConfig, tokens: Sequence[int]) -> None:
    """Refuse token ids outside the vocabulary (E112)."""
    if len(tokens) and not (min(tokens) >= 0 and max(tokens) < config.vocab):
        raise UsageError("E112", f"a token id is outside the vocabulary of {config.vocab}")
