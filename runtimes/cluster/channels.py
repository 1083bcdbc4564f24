"""In which order a block floating point cache keeps the channels of keys and values.

Channels of a block share an exponent, so a large one costs the small ones beside it their bits.
Sorted by magnitude, outliers share blocks (Trukhanov & Soloveychik 2024, arXiv 2403.20137, who sort
key channels by the norms of their weight rows). A dot product does not ask for an order: a new key
is stored in its head's order, queries are put in the same order once per token, and the mixture of
values is put back. Cached rows are never moved.

Here the statistic is the root mean square that a channel has for normed inputs of unit variance:
``sqrt(sum_j (W_ij g_j)^2 + b_i^2)``, with the gains g of the norm before; times the gain of the
head norm where there is one. Rotation mixes the channels of a pair, which share their mean square.
`convert` writes it into the shards, per head, so the order is the same on every device and cut.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from runtimes.cluster.buffers import Buffer, Rows
from toolchain.cluster.config import ModelConfig
from toolchain.cluster.split import Span

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from runtimes.cluster.arrays import F32

ReadRows = Callable[[str, int, int], "F32"]
MAGNITUDES = ("k_magnitude", "v_magnitude")


def channel_order(magnitudes: Sequence[float], head_dim: int) -> list[int]:
    """Sort each head's channels, largest first.

    Args:
        magnitudes: (heads * head_dim,) of one layer's keys or values.
        head_dim: channels of a head.

    Returns:
        (heads * head_dim,) for every place in a cached row the channel that lies there, counted
        within its head.
    """
    heads = [magnitudes[i : i + head_dim] for i in range(0, len(magnitudes), head_dim)]
    return [c for head in heads for c in sorted(range(head_dim), key=lambda c: -head[c])]


def layer_order(vectors: Mapping[str, Rows], layer: int, head_dim: int) -> Buffer:
    """Orders of a layer's keys, then of its values, as the kernels take them: int32."""
    from array import array

    orders = array("i")
    for name in MAGNITUDES:
        magnitudes = vectors[f"layers.{layer}.{name}"].memory.view.cast("f").tolist()
        orders.extend(channel_order(magnitudes, head_dim))
    return Buffer.over(orders)


def channel_magnitudes(config: ModelConfig, read: ReadRows, name: str, own: Span) -> F32:
    """Compute `MAGNITUDES` from a model's weights, a head at a time.

    Args:
        config: the model.
        read: rows ``start..stop-1`` of a tensor of the model.
        name: canonical, such as ``layers.3.k_magnitude``.
        own: channels wanted, whole heads.

    Returns:
        (len(own),) float32.
    """
    import numpy as np

    prefix, _, kind = name.removesuffix("_magnitude").rpartition(".")
    dim, rotated = config.head_dim, kind == "k"
    gains = read(f"{prefix}.attention_norm", 0, config.hidden).astype(np.float64)
    head_gains = read(f"{prefix}.k_norm", 0, dim) if config.qk_norm and rotated else np.float32(1)
    out = np.empty(len(own), np.float32)
    for start in range(own.start, own.stop, dim):
        rows = read(f"{prefix}.{kind}", start, start + dim)
        energy = np.square(rows * gains).sum(1)
        if config.qkv_bias:
            energy += np.square(read(f"{prefix}.{kind}_bias", start, start + dim), dtype=np.float64)
        energy *= np.square(head_gains, dtype=np.float64)
        if rotated:
            _share_by_pairs(config, energy)
        out[start - own.start :][:dim] = np.sqrt(energy)
    return out


def _share_by_pairs(config: ModelConfig, energy: npt.NDArray[np.float64]) -> None:
    """Give both channels of a rotated pair their mean, in place."""
    interleaved = config.rope_style == "interleaved"
    pairs = energy.reshape((-1, 2) if interleaved else (2, -1))
    pairs[:] = pairs.mean(1 if interleaved else 0, keepdims=True)
