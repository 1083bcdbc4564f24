"""The engine in numpy: what every other engine must equal, and what runs without a compiler.

It reads like the papers: RMSNorm (arXiv 1910.07467), rotary positions (2104.09864), grouped-query
attention (2305.13245), gated feed-forward (2002.05202), split as in Megatron-LM (1909.08053).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from runtimes.cluster.arrays import F32, Partial, array_of, rows_of
from runtimes.cluster.buffers import Rows
from runtimes.cluster.channels import MAGNITUDES, channel_order
from runtimes.cluster.engine import FIXED_POINT, Block, check_positions, check_tokens
from runtimes.cluster.kv_cache import row_store
from runtimes.cluster.rotation import rotation_table
from runtimes.cluster.weights import RankWeights
from toolchain.cluster.config import ModelConfig, rotary_frequencies
from toolchain.cluster.split import KvKind, mantissa_bits

_LANES = 16
_CHUNK = 1 << 20  # products held at a time by the order-free sums


class ReferenceEngine:
    """One rank in numpy float32; see `runtimes.cluster.engine.Engine`.

    Args:
        weights: this rank's part of the model.
        slots: independent sequences.
        capacity: positions per slot; the model's context by default.
        reproducible: order-free sums: each product is rounded to 2^-24 and added as int64, in
            every matrix, so that no sum depends on how rows and columns were cut.
        kv: type of the key/value cache.
    """

    def __init__(
        self,
        weights: RankWeights,
        *,
        slots: int = 1,
        capacity: int | None = None,
        reproducible: bool = False,
        kv: KvKind = "f32",
    ) -> None:
        self.config = weights.config
        self.share = weights.share
        self.slots = slots
        self.capacity = capacity or self.config.context
        self.reproducible = reproducible
        self._weights = weights
        heads = len(self.share.kv_heads)
        places = (slots, self.config.layers, heads, self.capacity)
        self._keys = row_store(kv, places, self.config.head_dim)
        self._values = row_store(kv, places, self.config.head_dim)
        self._orders = [self._order(layer, kv) for layer in range(self.config.layers)]

    def embed(self, tokens: Sequence[int]) -> Rows:
        """Look up embedding rows; see `Engine.embed`."""
        check_tokens(self.config, tokens)
        scale = np.float32(self.config.embedding_scale)
        return rows_of(self._weights.embedding_rows(tokens) * scale)

    def attention(self, layer: int, hidden: Rows, slot: int, position: int) -> Rows:
        """Own heads of an attention block; see `Engine.attention`."""
        check_positions(self, slot, position, len(hidden))
        config, n, dim = self.config, len(hidden), self.config.head_dim
        x = self._norm(array_of(hidden), f"layers.{layer}.attention_norm")
        q, k, v = (self._project(layer, kind, x).reshape(n, -1, dim) for kind in "qkv")
        rotation = self._rotation(layer, position, n)
        q, k = rotate(config, q, rotation), rotate(config, k, rotation)
        mixed = np.empty((n, len(self.share.heads), dim), np.float32)
        for kv, (key_order, value_order) in enumerate(self._orders[layer]):
            rows = slot, layer, kv, slice(position, position + n)
            self._keys[rows] = k[:, kv, key_order]
            self._values[rows] = v[:, kv, value_order]
            cached = slot, layer, kv, slice(0, position + n)
            keys, values = self._keys[cached], self._values[cached]
            for own in self._readers(kv):
                mixed[:, own, value_order] = self._mix(layer, q[:, own, key_order], keys, values)
        return rows_of(self._partial(mixed.reshape(n, -1), f"layers.{layer}.o"))

    def feed_forward(self, layer: int, hidden: Rows) -> Rows:
        """Own columns of a feed-forward block; see `Engine.feed_forward`."""
        x = self._norm(array_of(hidden), f"layers.{layer}.feed_forward_norm")
        gate = self._product(x, f"layers.{layer}.gate")
        gated = activate(self.config, gate) * self._product(x, f"layers.{layer}.up")
        return rows_of(self._partial(gated, f"layers.{layer}.down"))

    def combine(self, layer: int, block: Block, hidden: Rows, total: Rows) -> Rows:
        """Residual addition; see `Engine.combine`."""
        change = from_partial(array_of(total))
        if self.config.post_norms:
            name = "attention" if block is Block.ATTENTION else "feed_forward"
            change = self._norm(change, f"layers.{layer}.{name}_post_norm")
        return rows_of(array_of(hidden) + change)

    def logits(self, hidden: Rows) -> Rows:
        """Compute own classifier rows; see `Engine.logits`."""
        x = self._norm(array_of(hidden), "final_norm")
        return rows_of(softcap(self._product(x, "classifier"), self.config.logit_softcap))

    def truncate(self, slot: int, length: int) -> None:
        """Forget later positions: they will be overwritten before they are read."""
        check_positions(self, slot, length, 0)

    def close(self) -> None:
        """Close the weights."""
        self._weights.close()

    def _order(self, layer: int, kv: KvKind) -> npt.NDArray[np.intp]:
        """(kv heads, 2, dim): the channel at each place of a cached key, and of a value."""
        dim, heads = self.config.head_dim, len(self.share.kv_heads)
        if not mantissa_bits(kv):
            return np.tile(np.arange(dim), (heads, 2, 1))
        magnitudes = [self._weights.tensor(f"layers.{layer}.{name}") for name in MAGNITUDES]
        orders = [channel_order(values.tolist(), dim) for values in magnitudes]
        return np.array(orders, np.intp).reshape(2, heads, dim).swapaxes(0, 1)

    def _readers(self, kv: int) -> Iterator[int]:
        """Own query heads that read an own key/value head, by number within the rank."""
        for own, head in enumerate(range(self.share.heads.start, self.share.heads.stop)):
            if head // self.config.group - self.share.kv_heads.start == kv:
                yield own

    def _mix(self, layer: int, q: F32, keys: F32, values: F32) -> F32:
        """Attention of one head's (n, dim) queries, the newest, over (positions, dim) rows."""
        config, mixed = self.config, np.empty_like(q)
        for i, query in enumerate(q):  # row by row: sums must not depend on a row's neighbours
            seen = visible(config, layer, len(keys) - len(q) + i)
            scores = _dot(keys[seen], query) * np.float32(config.attention_scale)
            scores = _softmax(softcap(scores, config.attention_softcap))
            mixed[i] = (scores[:, None] * values[seen]).sum(0, dtype=np.float32)
        return mixed

    def _project(self, layer: int, kind: str, x: F32) -> F32:
        """One of q, k, v with its bias and head norm: (n, hidden) to (n, rows)."""
        out = self._product(x, f"layers.{layer}.{kind}")
        if self.config.qkv_bias:
            out = out + self._weights.tensor(f"layers.{layer}.{kind}_bias")
        if self.config.qk_norm and kind != "v":
            heads = out.reshape(len(x), -1, self.config.head_dim)
            out = self._norm(heads, f"layers.{layer}.{kind}_norm").reshape(len(x), -1)
        return out

    def _rotation(self, layer: int, position: int, n: int) -> F32:
        """(2, n, head_dim / 2): cosines and sines of positions ``position..position+n-1``."""
        frequencies = tuple(rotary_frequencies(self.config, layer))
        return array_of(rotation_table(frequencies, position, n)).reshape(2, n, -1)

    def _norm(self, x: F32, name: str) -> F32:
        return rms_norm(x, self._weights.tensor(name), self.config.norm_eps)

    def _product(self, x: F32, name: str) -> F32:
        """(n, columns) times a matrix (rows, columns), to (n, rows)."""
        matrix = self._weights.tensor(name)
        return from_partial(order_free(x, matrix)) if self.reproducible else x @ matrix.T

    def _partial(self, x: F32, name: str) -> Partial:
        """Multiply where columns are split over ranks: stays fixed point if reproducible."""
        matrix = self._weights.tensor(name)
        return order_free(x, matrix) if self.reproducible else x @ matrix.T


def rms_norm(x: F32, weight: F32, eps: float) -> F32:
    """Divide by the root mean square of the last axis and multiply by ``weight``.

    Squares are added in the order of the kernels, so that devices with and without a compiler
    hold equal bits after a post norm.
    """
    mean = _sum_in_lanes(np.square(x, dtype=np.float64)) / x.shape[-1]
    out: F32 = (x * (1.0 / np.sqrt(mean + eps)).astype(np.float32)) * weight
    return out


def _sum_in_lanes(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Sum the last axis, kept, in 16 lanes; what is left goes to the first, then lanes in order."""
    *outer, size = values.shape
    whole = size // _LANES * _LANES
    lanes = values[..., :whole].reshape(*outer, size // _LANES, _LANES).sum(-2)
    for rest in range(whole, size):
        lanes[..., 0] += values[..., rest]
    return np.cumsum(lanes, -1)[..., -1:]


def rotate(config: ModelConfig, x: F32, rotation: F32) -> F32:
    """Turn the pairs of (n, heads, dim) by their position's angles."""
    cos, sin = rotation[:, :, None, :]
    half = config.head_dim // 2
    pairs = (
        (slice(0, None, 2), slice(1, None, 2))
        if config.rope_style == "interleaved"
        else (slice(0, half), slice(half, None))
    )
    first, second = x[..., pairs[0]], x[..., pairs[1]]
    out = np.empty_like(x)
    out[..., pairs[0]] = first * cos - second * sin
    out[..., pairs[1]] = first * sin + second * cos
    return out


def visible(config: ModelConfig, layer: int, position: int) -> slice:
    """Positions that a token sees: all before it and itself, or the last ``window``."""
    window = config.layer_window(layer)
    return slice(max(0, position + 1 - window) if window else 0, position + 1)


def activate(config: ModelConfig, x: F32) -> F32:
    """SiLU, or GELU in its tanh form (Hendrycks & Gimpel 2016, arXiv 1606.08415)."""
    if config.activation == "silu":
        return _f32(x / (1 + np.exp(-np.maximum(x, np.float32(-80)))))
    inner = np.float32(0.7978845608) * (x + np.float32(0.044715) * x * x * x)
    return _f32(np.float32(0.5) * x * (1 + np.tanh(inner)))


def softcap(x: F32, cap: float) -> F32:
    """Cap * tanh(x / cap) (Gemma 2); 0 leaves the values alone."""
    return x if cap == 0 else _f32(np.float32(cap) * np.tanh(x / np.float32(cap)))


def order_free(x: F32, matrix: F32) -> npt.NDArray[np.int64]:
    """Matrix product in fixed point: the same bits in any order and any cut of the sums.

    A product of two float32 is exact in float64; rounded to 2^-24 and added as int64 it loses
    the order of additions. Values up to 2^39 / columns fit.

    Args:
        x: (n, columns).
        matrix: (rows, columns).

    Returns:
        (n, rows) int64 in units of 2^-24.
    """
    rows, columns = matrix.shape
    step = max(1, _CHUNK // max(columns, 1))
    out = np.empty((len(x), rows), np.int64)
    for i, row in enumerate(x.astype(np.float64) * FIXED_POINT):
        for start in range(0, rows, step):
            products = matrix[start : start + step] * row
            out[i, start : start + step] = np.rint(products).astype(np.int64).sum(1)
    return out


def from_partial(total: Partial) -> F32:
    """Turn a sum over ranks into float32 (int64 fixed point or already float32)."""
    if total.dtype == np.int64:
        return (total / FIXED_POINT).astype(np.float32)
    return np.asarray(total, np.float32)


def _f32(values: npt.NDArray[np.floating]) -> F32:
    return values.astype(np.float32, copy=False)


def _dot(keys: F32, query: F32) -> F32:
    return _f32((keys * query).sum(1, dtype=np.float32))


def _softmax(scores: F32) -> F32:
    weights = np.exp(scores - scores.max())
    return _f32(weights / weights.sum(dtype=np.float32))
