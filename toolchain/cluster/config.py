"""What a decoder language model is made of: one frozen value, read from any model format.

The engines and the planner know no model by name; whatever distinguishes Llama, Mistral, Qwen or
Gemma is a field of `ModelConfig`. Values come from files that others made, so all are checked
against limits before anything is computed or allocated from them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from toolchain.errors import ModelError

RopeStyle = Literal["interleaved", "half"]
Activation = Literal["silu", "gelu_tanh"]

# Field -> largest value believed; far above any published model, far below a hostile allocation.
_LIMITS = {
    "hidden": 1 << 16,
    "ffn": 1 << 19,
    "layers": 1 << 10,
    "heads": 1 << 10,
    "kv_heads": 1 << 10,
    "head_dim": 1 << 10,
    "vocab": 1 << 22,
    "context": 1 << 24,
}


@dataclass(frozen=True)
class RopeScaling:
    """How rotary frequencies are stretched beyond the context of training.

    Attributes:
        kind: ``none``; ``linear`` divides all frequencies by ``factor`` (Chen et al. 2023,
            arXiv 2306.15595); ``llama3`` divides the low ones only (Llama 3.1 reference code).
        factor: by how much.
        low_frequency: wavelengths above ``original_context / low_frequency`` are stretched whole.
        high_frequency: wavelengths below ``original_context / high_frequency`` are left alone.
        original_context: positions seen in training.
    """

    kind: Literal["none", "linear", "llama3"] = "none"
    factor: float = 1.0
    low_frequency: float = 1.0
    high_frequency: float = 4.0
    original_context: int = 8192

    def __post_init__(self) -> None:
        sane = (
            self.kind in ("none", "linear", "llama3")
            and _is_real(self.factor, 1.0, 1e6)
            and _is_real(self.low_frequency, 1e-3, 1e6)
            and _is_real(self.high_frequency, 1e-3, 1e6)
            and _is_count(self.original_context, _LIMITS["context"])
            and (self.kind != "llama3" or self.high_frequency > self.low_frequency)
        )
        if not sane:
            raise _bad("rope_scaling", self)

    def stretch(self, frequency: float) -> float:
        """Apply the scaling to one frequency, radians per position."""
        if self.kind == "none":
            return frequency
        if self.kind == "linear":
            return frequency / self.factor
        turns = self.original_context * frequency / (2.0 * math.pi)
        span = self.high_frequency - self.low_frequency
        keep = min(max((turns - self.low_frequency) / span, 0.0), 1.0)
        return frequency * (keep + (1.0 - keep) / self.factor)


@dataclass(frozen=True)
class ModelConfig:
    """A decoder-only transformer with rotary positions, RMSNorm and a gated feed-forward.

    Attributes:
        family: architecture name for people (``llama``, ``qwen3`` ...); nothing branches on it.
        hidden: width of the residual stream.
        ffn: columns of the feed-forward, any number (172 is as good as 5632).
        layers: count of transformer layers.
        heads: query heads.
        kv_heads: key/value heads; ``heads`` is a multiple (grouped-query attention).
        head_dim: width of a head, even.
        vocab: rows of the embedding and of the classifier.
        context: most positions the model was made for.
        norm_eps: epsilon of RMSNorm (Zhang & Sennrich 2019, arXiv 1910.07467).
        rope_theta: base of the rotary frequencies (Su et al. 2021, arXiv 2104.09864).
        rope_style: which values of a head form a rotated pair: (2i, 2i+1), or (i, i + dim/2).
        rope_scaling: stretching of the frequencies.
        tied: the classifier is the embedding.
        qkv_bias: query, key and value projections have a bias (Qwen2).
        qk_norm: RMSNorm over each query and key head before rotation (Qwen3, Gemma 3).
        activation: of the gate.
        embedding_scale: factor on embedding rows (Gemma: sqrt(hidden)).
        attention_scale: factor on query-key products.
        post_norms: RMSNorm on each block's output before the residual addition (Gemma 2 and 3).
        attention_softcap: c of c*tanh(x/c) on attention scores; 0 for none (Gemma 2).
        logit_softcap: the same on logits.
        window: positions that a local layer sees; 0 for all.
        global_every: with a window, each layer whose number + 1 is a multiple sees all positions;
            0: no layer does (Mistral).
        local_rope_theta: rotary base of local layers, unstretched; 0: as all layers (Gemma 3).
        bos: token id that starts a text, -1 for none.
        eos: token ids that end a generation.
    """

    family: str
    hidden: int
    ffn: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    context: int
    norm_eps: float = 1e-5
    rope_theta: float = 10000.0
    rope_style: RopeStyle = "half"
    rope_scaling: RopeScaling = field(default_factory=RopeScaling)
    tied: bool = False
    qkv_bias: bool = False
    qk_norm: bool = False
    activation: Activation = "silu"
    embedding_scale: float = 1.0
    attention_scale: float = 0.0
    post_norms: bool = False
    attention_softcap: float = 0.0
    logit_softcap: float = 0.0
    window: int = 0
    global_every: int = 0
    local_rope_theta: float = 0.0
    bos: int = -1
    eos: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name, limit in _LIMITS.items():
            if not _is_count(getattr(self, name), limit):
                raise _bad(name, getattr(self, name), f"1..{limit}")
        if self.heads % self.kv_heads:
            raise _bad("kv_heads", self.kv_heads, f"a divisor of {self.heads} heads")
        if self.head_dim % 2:
            raise _bad("head_dim", self.head_dim, "an even number")
        if self.attention_scale == 0.0:
            object.__setattr__(self, "attention_scale", 1.0 / math.sqrt(self.head_dim))
        self._check_reals()
        self._check_choices()

    @property
    def group(self) -> int:
        """Query heads that share one key/value head."""
        return self.heads // self.kv_heads

    def layer_window(self, layer: int) -> int:
        """Positions that layer ``layer`` sees, 0 for all."""
        is_global = self.global_every > 0 and (layer + 1) % self.global_every == 0
        return 0 if is_global else self.window

    def as_dict(self) -> dict[str, Any]:
        """Return the config as JSON-ready values; `from_dict` is the inverse."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelConfig:
        """Read a config back from `as_dict`, checked as hostile input.

        Raises:
            ModelError: E220, a key is unknown or missing, or a value is out of its limits.
        """
        fields = {item.name for item in dataclasses.fields(cls)}
        unknown = sorted(set(values) - fields)
        if unknown:
            raise ModelError("E220", f"unknown key in a model config: {unknown[0]!r:.40}")
        try:
            arguments = dict(values)
            arguments["rope_scaling"] = RopeScaling(**values.get("rope_scaling", {}))
            arguments["eos"] = tuple(values.get("eos", ()))
            return cls(**arguments)
        except TypeError as error:
            raise ModelError("E220", f"a model config is incomplete: {error}") from error

    def _check_reals(self) -> None:
        limits = {
            "norm_eps": (1e-12, 1.0),
            "rope_theta": (1.0, 1e12),
            "embedding_scale": (1e-6, 1e6),
            "attention_scale": (1e-6, 1e6),
            "attention_softcap": (0.0, 1e6),
            "logit_softcap": (0.0, 1e6),
            "local_rope_theta": (0.0, 1e12),
        }
        for name, (low, high) in limits.items():
            if not _is_real(getattr(self, name), low, high):
                raise _bad(name, getattr(self, name), f"{low:g}..{high:g}")

    def _check_choices(self) -> None:
        flags = (self.tied, self.qkv_bias, self.qk_norm, self.post_norms)
        checks = {
            "family": isinstance(self.family, str) and 0 < len(self.family) <= 64,
            "rope_style": self.rope_style in ("interleaved", "half"),
            "activation": self.activation in ("silu", "gelu_tanh"),
            "tied/qkv_bias/qk_norm/post_norms": all(isinstance(flag, bool) for flag in flags),
            "window": _is_count(self.window, _LIMITS["context"], 0),
            "global_every": _is_count(self.global_every, _LIMITS["layers"], 0),
            "bos": _is_count(self.bos, self.vocab - 1, -1),
            "eos": len(self.eos) <= 64
            and all(_is_count(token, self.vocab - 1, 0) for token in self.eos),
        }
        for name, holds in checks.items():
            if not holds:
                raise _bad(name, getattr(self, name, ""))


def rotary_frequencies(config: ModelConfig, layer: int) -> list[float]:
    """Angle per position of each rotated pair of a head, in radians.

    Args:
        config: the model.
        layer: layer number, since local layers may have a base of their own.

    Returns:
        ``head_dim / 2`` frequencies theta^(-2i/head_dim), stretched by ``rope_scaling``.
    """
    local = config.local_rope_theta > 0 and config.layer_window(layer) > 0
    theta = config.local_rope_theta if local else config.rope_theta
    plain = [theta ** (-2.0 * i / config.head_dim) for i in range(config.head_dim // 2)]
    return plain if local else [config.rope_scaling.stretch(f) for f in plain]


def _is_count(value: object, high: int, low: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _is_real(value: object, low: float, high: float) -> bool:
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and math.isfinite(value)
        and low <= value <= high
    )


def _bad(name: str, value: object, allowed: str = "") -> ModelError:
    reason = f" (allowed: {allowed})" if allowed else ""
    return ModelError("E220", f"model config has an unusable {name}: {value!r:.80}{reason}")
