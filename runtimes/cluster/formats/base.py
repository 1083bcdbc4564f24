"""What every model format gives: a config, and weights by canonical name, one at a time.

Canonical names::

    embedding (vocab, hidden)    final_norm (hidden,)    classifier (vocab, hidden)
    layers.<i>.  attention_norm (hidden,)       feed_forward_norm (hidden,)
                 q (heads*dim, hidden)  k, v (kv_heads*dim, hidden)  o (hidden, heads*dim)
                 gate, up (ffn, hidden)         down (hidden, ffn)
                 q_bias, k_bias, v_bias         q_norm, k_norm (dim,)
                 attention_post_norm (hidden,)  feed_forward_post_norm (hidden,)

Norm weights are effective factors (Gemma's 1 + w is added by the reader). A tied classifier is the
embedding under its second name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from toolchain.cluster.config import ModelConfig
from toolchain.errors import ModelError

if TYPE_CHECKING:  # shapes are needed where there is no numpy
    from runtimes.cluster.arrays import F32


class WeightSource(Protocol):
    """A model file, read lazily: no more than one tensor is in memory at a time."""

    config: ModelConfig

    def rows(self, name: str, start: int, stop: int) -> F32:
        """Read rows ``start..stop-1`` of a tensor as float32 (elements of a vector).

        Raises:
            ModelError: E222 the file ends early, E223 the tensor is missing or of another shape.
        """
        ...

    def close(self) -> None:
        """Close the files."""
        ...


def layer_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Shapes of one layer's tensors by their name within the layer."""
    q, kv = config.heads * config.head_dim, config.kv_heads * config.head_dim
    shapes: dict[str, tuple[int, ...]] = {
        "attention_norm": (config.hidden,),
        "feed_forward_norm": (config.hidden,),
        "q": (q, config.hidden),
        "k": (kv, config.hidden),
        "v": (kv, config.hidden),
        "o": (config.hidden, q),
        "gate": (config.ffn, config.hidden),
        "up": (config.ffn, config.hidden),
        "down": (config.hidden, config.ffn),
    }
    if config.qkv_bias:
        shapes |= {"q_bias": (q,), "k_bias": (kv,), "v_bias": (kv,)}
    if config.qk_norm:
        shapes |= {"q_norm": (config.head_dim,), "k_norm": (config.head_dim,)}
    if config.post_norms:
        shapes |= dict.fromkeys(POST_NORMS, (config.hidden,))
    return shapes


POST_NORMS = ("attention_post_norm", "feed_forward_post_norm")


def tensor_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Shapes of all tensors of a model by canonical name."""
    shapes: dict[str, tuple[int, ...]] = {
        "embedding": (config.vocab, config.hidden),
        "final_norm": (config.hidden,),
        "classifier": (config.vocab, config.hidden),
    }
    for layer in range(config.layers):
        shapes |= {f"layers.{layer}.{name}": s for name, s in layer_shapes(config).items()}
    return shapes


def checked_rows(shape: tuple[int, ...], name: str, start: int, stop: int) -> tuple[int, ...]:
    """Shape of a row range, or an error that names the tensor."""
    if not 0 <= start <= stop <= shape[0]:
        raise ModelError("E223", f"rows {start}..{stop} are outside {name} of shape {shape}")
    return (stop - start, *shape[1:])
