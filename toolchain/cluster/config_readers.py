"""Model configs from the headers of the model formats: Hugging Face ``config.json`` and GGUF."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from toolchain.cluster.config import ModelConfig, RopeScaling
from toolchain.errors import ModelError

Values = Mapping[str, Any]
_GEMMA = ("gemma", "gemma2", "gemma3", "gemma3_text")
_GEMMA_HEAD = 256
FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text")
GGUF_FAMILIES = ("llama", "qwen2", "qwen3", "gemma", "gemma2", "gemma3")


def from_huggingface(values: Values) -> ModelConfig:
    """Read a ``config.json`` of transformers.

    Args:
        values: the parsed file.

    Raises:
        ModelError: E221 the model type or one of its options is not supported, E220 a value is
            missing or unusable.
    """
    family = values.get("model_type")
    if family not in FAMILIES:
        raise _unsupported(f"model type {family!r:.40}", FAMILIES)
    _refuse_options(values, str(family))
    heads, hidden = _count(values, "num_attention_heads"), _count(values, "hidden_size")
    theta, scaling, local_theta = _huggingface_rope(values)
    return ModelConfig(
        family=str(family),
        hidden=hidden,
        ffn=_count(values, "intermediate_size"),
        layers=_count(values, "num_hidden_layers"),
        heads=heads,
        kv_heads=values.get("num_key_value_heads") or heads,
        head_dim=values.get("head_dim") or hidden // heads,
        vocab=_count(values, "vocab_size"),
        context=_count(values, "max_position_embeddings"),
        norm_eps=values.get("rms_norm_eps", 1e-6),
        rope_theta=theta,
        rope_style="half",
        rope_scaling=scaling,
        tied=values.get("tie_word_embeddings", family in _GEMMA),
        qkv_bias=family == "qwen2" or bool(values.get("attention_bias", False)),
        qk_norm=family in ("qwen3", "gemma3_text"),
        local_rope_theta=local_theta,
        bos=_token(values.get("bos_token_id")),
        eos=_tokens(values.get("eos_token_id")),
        **_gemma(str(family), hidden, values.get("query_pre_attn_scalar")),
        **_softcaps(values.get("attn_logit_softcapping"), values.get("final_logit_softcapping")),
        **_window(str(family), values),
    )


def from_gguf(values: Values, *, tied: bool, rope_divisors: list[float] | None) -> ModelConfig:
    """Read the metadata of a GGUF file.

    Args:
        values: metadata by key.
        tied: the file has no ``output.weight``.
        rope_divisors: the tensor ``rope_freqs.weight`` if there is one: what each rotary
            frequency is divided by.

    Raises:
        ModelError: E221, the architecture is not supported; E220, a value is unusable.
    """
    family = values.get("general.architecture")
    if family not in GGUF_FAMILIES:
        raise _unsupported(f"GGUF architecture {family!r:.40}", GGUF_FAMILIES)
    own = {
        key.removeprefix(f"{family}."): value
        for key, value in values.items()
        if key.startswith(f"{family}.")
    }
    heads, hidden = _count(own, "attention.head_count"), _count(own, "embedding_length")
    context = _count(own, "context_length")
    vocab = own.get("vocab_size") or len(values.get("tokenizer.ggml.tokens", ()))
    head_dim = own.get("attention.key_length") or hidden // heads
    return ModelConfig(
        family=str(family),
        hidden=hidden,
        ffn=_count(own, "feed_forward_length"),
        layers=_count(own, "block_count"),
        heads=heads,
        kv_heads=own.get("attention.head_count_kv") or heads,
        head_dim=head_dim,
        vocab=vocab,
        context=context,
        norm_eps=own.get("attention.layer_norm_rms_epsilon", 1e-5),
        rope_theta=own.get("rope.freq_base", 10000.0),
        rope_style="interleaved" if family == "llama" else "half",
        rope_scaling=_gguf_scaling(own, head_dim, rope_divisors),
        tied=tied,
        qkv_bias=family == "qwen2",
        qk_norm=family in ("qwen3", "gemma3"),
        local_rope_theta=10000.0 if family == "gemma3" else 0.0,
        bos=_token(values.get("tokenizer.ggml.bos_token_id")),
        eos=_gguf_eos(values),
        **_gemma(str(family), hidden, _gguf_query_scalar(head_dim, heads, hidden)),
        **_softcaps(own.get("attn_logit_softcapping"), own.get("final_logit_softcapping")),
        **_window(str(family), {"sliding_window": own.get("attention.sliding_window")}),
    )


def _refuse_options(values: Values, family: str) -> None:
    """Options that would change the arithmetic silently must not be ignored."""
    if values.get("mlp_bias") or (values.get("attention_bias") and family != "qwen2"):
        raise _unsupported("bias in output or feed-forward projections", ())
    if family.startswith("qwen") and values.get("use_sliding_window"):
        raise _unsupported("use_sliding_window of Qwen models", ())
    if values.get("quantization_config"):
        raise _unsupported(
            "weights that were quantised by another tool", ("the original weights", "GGUF")
        )
    activation = values.get("hidden_activation") or values.get("hidden_act") or "silu"
    wanted = ("gelu", "gelu_pytorch_tanh") if family in _GEMMA else ("silu",)
    if activation not in wanted:
        raise _unsupported(f"activation {activation!r:.40} in a {family} model", wanted)


def _huggingface_rope(values: Values) -> tuple[float, RopeScaling, float]:
    """Read base, scaling and base of local layers, from either generation of keys."""
    both: Values = values.get("rope_parameters") or {}
    local: Values = both.get("sliding_attention", {})
    options: Values = both.get("full_attention", both)
    scaling = values.get("rope_scaling") or options
    theta = values.get("rope_theta") or options.get("rope_theta", 10000.0)
    local_theta = values.get("rope_local_base_freq") or local.get("rope_theta", 0.0)
    return theta, _huggingface_scaling(scaling), local_theta


def _huggingface_scaling(values: Values) -> RopeScaling:
    kind = values.get("rope_type") or values.get("type") or "default"
    if kind == "default":
        return RopeScaling()
    if kind == "linear":
        return RopeScaling("linear", values.get("factor", 1.0))
    if kind != "llama3":
        raise _unsupported(f"rotary scaling {kind!r:.40}", ("linear", "llama3"))
    return RopeScaling(
        "llama3",
        values.get("factor", 8.0),
        values.get("low_freq_factor", 1.0),
        values.get("high_freq_factor", 4.0),
        values.get("original_max_position_embeddings", 8192),
    )


def _gguf_scaling(own: Values, head_dim: int, divisors: list[float] | None) -> RopeScaling:
    """GGUF holds Llama 3 scaling as one divisor per frequency: find the rule they came from."""
    if divisors is None:
        kind = own.get("rope.scaling.type", "none")
        if kind in ("none", "linear"):
            factor = own.get("rope.scaling.factor", 1.0)
            return RopeScaling() if kind == "none" else RopeScaling("linear", factor)
        raise _unsupported(f"rotary scaling {kind!r:.40} in GGUF", ("linear", "llama3"))
    rule = RopeScaling("llama3", max([1.0, *divisors]))
    theta = own.get("rope.freq_base", 10000.0)
    for i, divisor in enumerate(divisors):
        frequency = theta ** (-2.0 * i / head_dim)
        if not math.isclose(frequency / rule.stretch(frequency), divisor, rel_tol=1e-3):
            raise _unsupported("rotary scaling by factors that are not Llama 3's", ())
    return rule


def _gemma(family: str, hidden: int, query_scalar: object) -> dict[str, Any]:
    """Return what all Gemma generations share, and what came with the second."""
    if family not in _GEMMA:
        return {}
    scale = 1.0 / math.sqrt(query_scalar) if isinstance(query_scalar, (int, float)) else 0.0
    return {
        "activation": "gelu_tanh",
        "embedding_scale": math.sqrt(hidden),
        "post_norms": family != "gemma",
        "attention_scale": scale,
    }


def _gguf_query_scalar(head_dim: int, heads: int, hidden: int) -> float:
    """GGUF does not say by the root of what Gemma divides its queries.

    It is the head size, 256 in all but the 27B models of Gemma 2 and 3, whose heads are smaller:
    these take the hidden size per head (``query_pre_attn_scalar`` of the published configs).
    """
    return head_dim if head_dim == _GEMMA_HEAD else hidden / heads


def _softcaps(attention: float | None, logits: float | None) -> dict[str, Any]:
    return {"attention_softcap": attention or 0.0, "logit_softcap": logits or 0.0}


def _window(family: str, values: Values) -> dict[str, Any]:
    """Sliding windows: all layers of Mistral, every second of Gemma 2, five of six of Gemma 3."""
    window = values.get("sliding_window") or 0
    if family in ("gemma2", "gemma3", "gemma3_text"):
        pattern = values.get("sliding_window_pattern") or (2 if family == "gemma2" else 6)
        return {"window": window, "global_every": pattern}
    return {"window": window if family in ("mistral", "llama") else 0}


def _gguf_eos(values: Values) -> tuple[int, ...]:
    keys = ("tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id")
    return tuple(dict.fromkeys(values[key] for key in keys if key in values))


def _tokens(value: object) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, list) else () if value is None else (value,)  # type: ignore[return-value]


def _token(value: object) -> int:
    return value if isinstance(value, int) else -1


def _count(values: Values, key: str) -> int:
    """Return an integer that arithmetic may use before the config checks it."""
    value = values.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ModelError("E220", f"model config has an unusable {key}: {value!r:.40}")
    return value


def _unsupported(what: str, instead: tuple[str, ...]) -> ModelError:
    hints = [f"supported: {', '.join(instead)}"] if instead else []
    return ModelError("E221", f"not supported: {what}", hints=hints)
