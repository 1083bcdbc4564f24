"""Which blocks of a shard stay in memory and which stream, under a budget in bytes.

Pure arithmetic, shared by the planner, which predicts it, and the engine, which does it. Streamed
blocks are spread evenly between pinned ones, so that the disk always has a whole stretch of
computing to hide behind.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from toolchain.cluster.config import ModelConfig
from toolchain.cluster.split import (
    TILE_COLUMNS,
    TILE_ROWS,
    Bits,
    KvKind,
    Share,
    block_bytes,
    kv_bytes,
)
from toolchain.errors import FitError

_SLOTS = (3, 2)  # one in use, one ready, one being read; or two if memory is short


@dataclass(frozen=True)
class Residency:
    """Which blocks stay in memory and which stream.

    Attributes:
        streamed: numbers of the streamed blocks, ascending; all others are pinned.
        slots: sizes of the ring's slots, bytes.
        pinned_bytes: bytes of all pinned blocks.
        streamed_bytes: bytes read from disk for every token.
    """

    streamed: tuple[int, ...]
    slots: tuple[int, ...]
    pinned_bytes: int
    streamed_bytes: int

    @property
    def bytes(self) -> int:
        """Memory for weights."""
        return self.pinned_bytes + sum(self.slots)


def plan_residency(sizes: Sequence[int], budget: int | None) -> Residency:
    """Choose what to stream so that the weights stay within a budget and the least is read.

    Args:
        sizes: bytes of each block in the order of use.
        budget: bytes for weights; None: no limit.

    Returns:
        The plan; its `Residency.bytes` is at most ``budget``.

    Raises:
        FitError: E312, not even two slots fit.
    """
    if budget is None or sum(sizes) <= budget:
        return Residency((), (), sum(sizes), 0)
    for slots in _SLOTS:
        plans = [_stream(sizes, choice, slots) for choice in _choices(sizes)]
        fitting = [plan for plan in plans if plan.bytes <= budget]
        if fitting:
            return min(fitting, key=lambda plan: plan.streamed_bytes)
    needed = min(plan.bytes for plan in plans)
    raise FitError(
        "E312",
        f"weights need at least {needed} bytes of memory, {budget} are left for them",
        numbers={"needed": needed, "available": budget},
        hints=["raise --max-ram, use more devices, or lower the context (--context)"],
    )


def _choices(sizes: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Make sets of blocks to stream, each spread evenly over the bytes of a token.

    The largest block may be kept out: it would set the size of every slot.
    """
    steps = 2 * len(sizes)
    for limit in sorted(set(sizes)):
        for step in range(1, steps + 1):
            choice, due = [], 0.0
            for number, size in enumerate(sizes):
                due += size * step / steps
                if size <= limit and due >= size * (1 - 1e-9):
                    choice.append(number)
                    due -= size
            if choice:
                yield tuple(choice)


def _stream(sizes: Sequence[int], streamed: tuple[int, ...], slots: int) -> Residency:
    """Give the streamed blocks a ring."""
    read = sum(sizes[i] for i in streamed)
    ring = (max(sizes[i] for i in streamed),) * slots
    return Residency(streamed, ring, sum(sizes) - read, read)


def streamable_blocks(config: ModelConfig, share: Share, bits: Bits) -> list[int]:
    """Bytes of the blocks that may stream, in the order of use."""
    sizes = block_bytes(config, share, bits)
    return [sizes.attention, sizes.feed_forward] * config.layers + [sizes.logits]


def fixed_bytes(
    config: ModelConfig,
    share: Share,
    bits: Bits,
    *,
    capacity: int,
    kv: KvKind,
    slots: int = 1,
    batch: int = 32,
    threads: int = 1,
) -> int:
    """Bytes an engine occupies besides streamable weights: caches, scratch, norms and biases.

    Args:
        config: the model.
        share: the rank.
        bits: of a weight.
        capacity: positions of a sequence.
        kv: type of the key/value cache.
        slots: sequences.
        batch: positions computed at a time.
        threads: of the kernels.
    """
    caches = slots * kv_bytes(config, share, capacity, kv)
    scratch = _scratch(config, share, bits, capacity=capacity, batch=batch, threads=threads)
    return caches + scratch + block_bytes(config, share, bits).resident


def _scratch(
    config: ModelConfig, share: Share, bits: Bits, *, capacity: int, batch: int, threads: int
) -> int:
    """Count what the kernels ask for (``layout`` in ``native/rank.c``)."""
    dim, ffn = config.head_dim, len(share.ffn)
    q, kv = len(share.heads) * dim, len(share.kv_heads) * dim
    groups = _padded(max(config.hidden, q, ffn), TILE_COLUMNS) // TILE_COLUMNS
    rows = max(_padded(q, TILE_ROWS) + 2 * _padded(kv, TILE_ROWS), 2 * _padded(ffn, TILE_ROWS))
    arrays = [
        batch * groups * TILE_COLUMNS,
        *[4 * batch * groups] * 2,
        4 * batch * groups * TILE_COLUMNS if bits == 32 else 0,
        4 * config.hidden,
        4 * batch * rows,
        4 * batch * q,
        4 * threads * (config.group * capacity + 16 * dim),
    ]
    return sum(_padded(size, 64) for size in arrays)


def _padded(size: int, unit: int) -> int:
    return -(-size // unit) * unit
