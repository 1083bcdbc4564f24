"""Random model shapes, their engines, and the real model where it is at hand."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st

from runtimes.cluster.formats.synthetic import SyntheticModel
from runtimes.cluster.reference import ReferenceEngine
from runtimes.cluster.weights import SlicedWeights
from toolchain.cluster.config import ModelConfig, RopeScaling
from toolchain.cluster.split import split

_SHARED = os.environ.get("TESSERA_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data")
STORIES = Path(_SHARED) / "llm" / "stories260K"
needs_stories = pytest.mark.skipif(not STORIES.exists(), reason="stories260K is not here")


def golden_prompts():
    return json.loads((STORIES / "derived/golden_public.json").read_text())["prompts"].values()


@st.composite
def configs(draw):
    """Small configs over the whole range of decoders: odd sizes, GQA, biases, norms, windows."""
    kv_heads = draw(st.integers(1, 4))
    layers = draw(st.integers(1, 3))
    window = draw(st.sampled_from([0, 0, 3]))
    return ModelConfig(
        family="random",
        hidden=draw(st.integers(3, 70)),
        ffn=draw(st.integers(1, 90)),
        layers=layers,
        heads=kv_heads * draw(st.integers(1, 3)),
        kv_heads=kv_heads,
        head_dim=2 * draw(st.integers(1, 9)),
        vocab=draw(st.integers(5, 60)),
        context=32,
        rope_style=draw(st.sampled_from(["half", "interleaved"])),
        rope_scaling=draw(
            st.sampled_from([RopeScaling(), RopeScaling("linear", 4.0), RopeScaling("llama3", 8.0)])
        ),
        tied=draw(st.booleans()),
        qkv_bias=draw(st.booleans()),
        qk_norm=draw(st.booleans()),
        activation=draw(st.sampled_from(["silu", "gelu_tanh"])),
        embedding_scale=draw(st.sampled_from([1.0, 5.0])),
        post_norms=draw(st.booleans()),
        attention_softcap=draw(st.sampled_from([0.0, 2.0])),
        logit_softcap=draw(st.sampled_from([0.0, 3.0])),
        window=window,
        global_every=draw(st.sampled_from([0, 2])) if window else 0,
        local_rope_theta=draw(st.sampled_from([0.0, 100.0])),
    )


device_weights = st.lists(st.floats(0.1, 10.0), min_size=1, max_size=5)


def reference_engines(source, weights, **options):
    shares = split(source.config, weights)
    return [ReferenceEngine(SlicedWeights(source, share), **options) for share in shares]


def synthetic(config, seed=0):
    return SyntheticModel(config, seed)


def tokens_of(config, count, seed=0):
    return np.random.default_rng(seed).integers(0, config.vocab, count)
