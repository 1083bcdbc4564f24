"""Small models to generate with: random ones, and stories260K where it is at hand."""

import functools
import json
import os
from pathlib import Path

import numpy as np
import pytest

from runtimes.cluster.convert import convert
from runtimes.cluster.formats.base import tensor_shapes
from runtimes.cluster.formats.synthetic import SyntheticModel
from runtimes.cluster.forward import LocalModel
from runtimes.cluster.generate import Finish, Piece
from runtimes.cluster.reference import ReferenceEngine
from runtimes.cluster.vocabulary import ScoredVocabulary
from runtimes.cluster.weights import SlicedWeights
from toolchain.cluster.config import ModelConfig
from toolchain.cluster.split import split

_SHARED = os.environ.get("TESSERA_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data")
STORIES = Path(_SHARED) / "llm" / "stories260K"
needs_stories = pytest.mark.skipif(not STORIES.exists(), reason="stories260K is not here")

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
WORDS = (" the", " cat", " sat", " on", " a", " mat", "abc", "bc", " ", "\u20ac", "\u00e9")
VOCABULARY = ScoredVocabulary(
    tokens=("<unk>", "<s>", "</s>", *BYTES, *WORDS),
    scores=(0.0,) * 259 + tuple(float(-i) for i in range(len(WORDS))),
    special=frozenset({0, 1, 2}),
    eos=(2,),
)
SMALL = ModelConfig(
    family="llama",
    hidden=32,
    ffn=44,
    layers=2,
    heads=4,
    kv_heads=2,
    head_dim=8,
    vocab=len(VOCABULARY.tokens),
    context=256,
    rope_style="interleaved",
    tied=True,
    bos=1,
    eos=(2,),
)

_LLAMA2C_ORDER = (
    "attention_norm",
    "q",
    "k",
    "v",
    "o",
    "feed_forward_norm",
    "gate",
    "down",
    "up",
)


def small_model(seed=0, *, slots=1, capacity=256, weights=(1.0,), reproducible=True):
    """Reproducible engines: the same bits for any cut of the sequence into passes."""
    source = SyntheticModel(SMALL, seed)
    engines = [
        ReferenceEngine(
            SlicedWeights(source, share),
            slots=slots,
            capacity=capacity,
            reproducible=reproducible,
        )
        for share in split(SMALL, weights)
    ]
    return LocalModel(engines)


@functools.cache
def golden_prompts():
    return json.loads((STORIES / "derived/golden_public.json").read_text())["prompts"]


def stories_shards(folder, *, bits=32, weights=(1.0,)):
    return convert(STORIES / "stories260K.bin", folder, bits=bits, weights=weights)


def tokens_of(events):
    return [token for event in events if isinstance(event, Piece) for token in event.tokens]


def text_of(events):
    return "".join(event.text for event in events if isinstance(event, Piece))


def finish_of(events):
    assert isinstance(events[-1], Finish)
    return events[-1]


def write_llama2c(folder, config=SMALL, seed=0):
    """A random model as a llama2.c file, with the vocabulary above beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    source = SyntheticModel(config, seed)
    layers = range(config.layers)
    sizes = [config.hidden, config.ffn, config.layers, config.heads, config.kv_heads]
    names = [["embedding"]]
    names += [[f"layers.{i}.{name}" for i in layers] for name in _LLAMA2C_ORDER]
    names += [["final_norm"]]
    with (folder / "model.bin").open("wb") as file:
        file.write(np.array([*sizes, config.vocab, config.context], "<i4").tobytes())
        for name in [name for group in names for name in group]:
            file.write(source.rows(name, 0, tensor_shapes(config)[name][0]).astype("<f4").tobytes())
        file.write(bytes(4 * config.context * config.head_dim))
    with (folder / "tokenizer.bin").open("wb") as file:
        file.write(np.int32(8).tobytes())
        for text, score in zip(VOCABULARY.tokens, VOCABULARY.scores, strict=True):
            data = text.encode()
            file.write(np.float32(score).tobytes() + np.int32(len(data)).tobytes() + data)
    return folder / "model.bin"


def write_small_shards(
    folder, *, bits=4, weights=(1.0,), seed=0, template="", eos=(2,), config=SMALL
):
    """A random model, converted; llama2.c files have no chat template, so one is put in."""
    model = write_llama2c(folder / "model", config, seed)
    shards = convert(model, folder / "shards", bits=bits, weights=weights)
    path = shards.path / "vocabulary.json"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"chat_template": template, "eos": eos})
    )
    return shards
