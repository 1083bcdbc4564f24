"""How a model is cut over the ranks of a cluster: pure arithmetic over its config.

Tensor parallelism after Shoeybi et al. 2019 (Megatron-LM, arXiv 1909.08053): each rank holds whole
query heads with the key/value heads they read, columns of the feed-forward and rows of the
classifier. Its blocks give partial sums of the hidden state, one exchange per block.

Shares are uneven where devices are. Work comes in equal units (a key/value group, 32 feed-forward
columns, 16 classifier rows: whole kernel tiles); handing each unit to the rank that would finish
it first minimises the time of the slowest rank, which is the time of the token.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from toolchain.cluster.config import ModelConfig
from toolchain.errors import FitError, UsageError

Bits = Literal[4, 8, 32]
# Types of the key/value cache: floats, int8 with a scale per head and position, or block floating
# point with mantissas of so many bits.
KvKind = Literal["f32", "f16", "int8", "bfp8", "bfp7", "bfp6", "bfp5", "bfp4"]

TILE_ROWS = 16
TILE_COLUMNS = 32
PAGE = 4096
MAX_RANKS = 256
KV_BLOCK = 16  # channels of a head that share an exponent in block floating point
KV_SLACK = 16  # bytes after such a cache: kernels read whole vectors
# 16 x 32 weights: 16 fp16 scales and the integers, or plain float32.
TILE_BYTES: dict[Bits, int] = {4: 288, 8: 544, 32: 2048}


@dataclass(frozen=True)
class Span:
    """A half-open range ``start <= i < stop``; may be empty."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def slice(self) -> slice:
        """Return the range as a Python slice."""
        return slice(self.start, self.stop)


@dataclass(frozen=True)
class Share:
    """What one rank holds of every layer.

    Attributes:
        rank: own number; rank 0 is the head, which alone embeds tokens and samples.
        ranks: how many there are.
        heads: query heads.
        kv_heads: key/value heads that those query heads read (the same head may be held by
            several ranks when there are more ranks than key/value heads).
        ffn: feed-forward columns.
        vocab: classifier rows.
    """

    rank: int
    ranks: int
    heads: Span
    kv_heads: Span
    ffn: Span
    vocab: Span

    def as_dict(self) -> dict[str, Any]:
        """Return the share as JSON-ready values."""
        spans = {name: [span.start, span.stop] for name, span in self._spans()}
        return {"rank": self.rank, "ranks": self.ranks, **spans}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Share:
        """Read a share back from `as_dict`, checked as hostile input.

        Raises:
            UsageError: E110, keys or values are not those of a share.
        """
        try:
            spans = {
                name: Span(*(_natural(value) for value in values[name]))
                for name in ("heads", "kv_heads", "ffn", "vocab")
            }
            return cls(rank=_natural(values["rank"]), ranks=_natural(values["ranks"]), **spans)
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError("E110", f"not a share of a model: {error!r:.120}") from error

    def _spans(self) -> list[tuple[str, Span]]:
        names = ("heads", "kv_heads", "ffn", "vocab")
        return [(name, getattr(self, name)) for name in names]


@dataclass(frozen=True)
class BlockBytes:
    """Bytes of one rank's shard by block, page-aligned as the file stores them.

    Attributes:
        attention: one layer's q, k, v and o tiles.
        feed_forward: one layer's gate, up and down tiles.
        logits: the own classifier rows.
        resident: norms and biases of all layers, float32, always in memory.
        embedding: the embedding rows on disk (head only), read on demand, never resident.
    """

    attention: int
    feed_forward: int
    logits: int
    resident: int
    embedding: int

    def weights(self, layers: int) -> int:
        """Bytes needed to pin the whole shard: everything but the embedding."""
        return self.resident + layers * (self.attention + self.feed_forward) + self.logits


def split(config: ModelConfig, weights: Sequence[float]) -> tuple[Share, ...]:
    """Cut a model over ``len(weights)`` ranks in proportion to their speed.

    Args:
        config: the model.
        weights: relative speed of each rank, positive; only ratios matter.

    Returns:
        One share per rank. Ranks get no heads or columns if there are fewer units than ranks.

    Raises:
        UsageError: E111, no rank, too many ranks, or a weight that is not positive and finite.
    """
    if not 1 <= len(weights) <= MAX_RANKS:
        raise UsageError("E111", f"cannot split over {len(weights)} devices (1 to {MAX_RANKS})")
    if not all(math.isfinite(weight) and weight > 0 for weight in weights):
        raise UsageError("E111", f"device weights must be positive: {list(weights)!r:.120}")
    ranks = len(weights)
    unit = config.group if ranks <= config.kv_heads else 1
    heads = _cut(config.heads, unit, weights)
    ffn = _cut(config.ffn, _unit(config.ffn, ranks, TILE_COLUMNS), weights)
    vocab = _cut(config.vocab, _unit(config.vocab, ranks, TILE_ROWS), weights)
    return tuple(
        Share(rank, ranks, heads[rank], _kv_of(config, heads[rank]), ffn[rank], vocab[rank])
        for rank in range(ranks)
    )


def check_split(config: ModelConfig, shares: Sequence[Share]) -> None:
    """Prove that shares together are the model; knows nothing of how they were made.

    Args:
        config: the model.
        shares: one per rank, in rank order.

    Raises:
        FitError: E310, a head, column or row is held by no rank or twice, or a query head's
            key/value head is not on its rank.
    """
    if [share.rank for share in shares] != list(range(len(shares))):
        raise FitError("E310", "shares are not in rank order, one per rank")
    if any(share.ranks != len(shares) for share in shares):
        raise FitError("E310", "shares disagree on the number of ranks")
    for name, total in (("heads", config.heads), ("ffn", config.ffn), ("vocab", config.vocab)):
        held = [i for share in shares for i in _numbers(getattr(share, name), total)]
        if sorted(held) != list(range(total)):
            raise FitError("E310", f"{name} are not held exactly once by all ranks together")
    for share in shares:
        check_share(config, share)


def check_share(config: ModelConfig, share: Share) -> None:
    """Prove that one share could be part of the model.

    Raises:
        FitError: E310, a range is outside the model, or heads and key/value heads do not match.
    """
    for name, total in (("heads", config.heads), ("ffn", config.ffn), ("vocab", config.vocab)):
        _numbers(getattr(share, name), total)
    if not 0 <= share.rank < share.ranks <= MAX_RANKS:
        raise FitError("E310", f"there is no rank {share.rank} of {share.ranks}")
    needed = {head // config.group for head in _numbers(share.heads, config.heads)}
    if needed != set(_numbers(share.kv_heads, config.kv_heads)):
        raise FitError(
            "E310", f"rank {share.rank} holds other key/value heads than its query heads read"
        )


def matrix_bytes(rows: int, columns: int, bits: Bits) -> int:
    """Bytes of a matrix in kernel tiles, padded to whole tiles."""
    return _tiles(rows, TILE_ROWS) * _tiles(columns, TILE_COLUMNS) * TILE_BYTES[bits]


def block_bytes(config: ModelConfig, share: Share, bits: Bits) -> BlockBytes:
    """Bytes of each block of one rank's shard, as the shard file stores them."""
    q, kv = len(share.heads) * config.head_dim, len(share.kv_heads) * config.head_dim
    inputs = sum(matrix_bytes(rows, config.hidden, bits) for rows in (q, kv, kv))
    gates = 2 * matrix_bytes(len(share.ffn), config.hidden, bits)
    row = config.hidden * (4 if bits == 32 else 2)
    return BlockBytes(
        attention=_pages(inputs + matrix_bytes(config.hidden, q, bits)),
        feed_forward=_pages(gates + matrix_bytes(config.hidden, len(share.ffn), bits)),
        logits=_pages(matrix_bytes(len(share.vocab), config.hidden, bits)),
        resident=_pages(4 * resident_values(config, share)),
        embedding=_pages(config.vocab * row) if share.rank == 0 else 0,
    )


def resident_values(config: ModelConfig, share: Share) -> int:
    """Count of float32 values that always stay in memory: norms, biases, channel magnitudes."""
    norms = (4 if config.post_norms else 2) * config.hidden
    head_norms = 2 * config.head_dim if config.qk_norm else 0
    heads = len(share.heads) + 2 * len(share.kv_heads)
    biases = heads * config.head_dim if config.qkv_bias else 0
    magnitudes = 2 * len(share.kv_heads) * config.head_dim
    return config.layers * (norms + head_norms + biases + magnitudes) + config.hidden


def kv_bytes(config: ModelConfig, share: Share, positions: int, kind: KvKind) -> int:
    """Bytes of one sequence's key/value cache on one rank.

    ``int8`` holds one fp16 scale per head and position for keys and one for values; block floating
    point one byte of exponent per `KV_BLOCK` channels.
    """
    dim, bits = config.head_dim, mantissa_bits(kind)
    per_head = {"f32": 4 * dim, "f16": 2 * dim, "int8": dim + 2}.get(
        kind, _tiles(dim, KV_BLOCK) + _tiles(dim * bits, 8)
    )
    rows = 2 * len(share.kv_heads) * positions
    return config.layers * (rows * per_head + (KV_SLACK if bits else 0))


def mantissa_bits(kind: KvKind) -> int:
    """Bits of a block floating point mantissa, sign included; 0 for other caches."""
    return int(kind[3:]) if kind.startswith("bfp") else 0


def _cut(total: int, unit: int, weights: Sequence[float]) -> list[Span]:
    """Contiguous spans of whole units, the last unit of the last span cut to ``total``."""
    counts = [0] * len(weights)
    finish = [(1.0 / weight, rank) for rank, weight in enumerate(weights)]
    heapq.heapify(finish)
    for _ in range(-(-total // unit)):
        _, rank = finish[0]
        counts[rank] += 1
        heapq.heapreplace(finish, ((counts[rank] + 1) / weights[rank], rank))
    spans, start = [], 0
    for count in counts:
        stop = min(start + count * unit, total)
        spans.append(Span(start, stop))
        start = stop
    return spans


def _unit(total: int, ranks: int, tile: int) -> int:
    """Return the largest power-of-two part of a tile that leaves every rank something."""
    while tile > 1 and -(-total // tile) < ranks:
        tile //= 2
    return tile


def _kv_of(config: ModelConfig, heads: Span) -> Span:
    first = heads.start // config.group
    return Span(first, first if len(heads) == 0 else (heads.stop - 1) // config.group + 1)


def _numbers(span: Span, total: int) -> range:
    if not 0 <= span.start <= span.stop <= total:
        raise FitError("E310", f"range {span.start}..{span.stop} is outside 0..{total}")
    return range(span.start, span.stop)


def _natural(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 1 << 24:
        raise ValueError(f"not a small natural number: {value!r:.40}")
    return value


def _tiles(size: int, tile: int) -> int:
    return -(-size // tile)


def _pages(size: int) -> int:
    return -(-size // PAGE) * PAGE
