import json

import pytest
from cluster_models import STORIES, golden_prompts, needs_stories, synthetic
from hypothesis import given
from hypothesis import strategies as st

from runtimes.cluster.formats.llama2c import Llama2cModel
from runtimes.cluster.tokenizer import (
    HuggingFaceTokenizer,
    _byte_level,
    encode_chat,
    open_tokenizer,
    render_chat,
    save_tokenizer,
)
from runtimes.cluster.vocabulary import ScoredVocabulary, from_gguf_metadata, from_llama2c
from toolchain.cluster.config import ModelConfig
from toolchain.errors import ModelError

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
WORDS = [" ", "a", "b", "c", "ab", "bc", "abc", " a", " ab", "\u20ac"]
VOCABULARY = ScoredVocabulary(
    tokens=("<unk>", "<s>", "</s>", *BYTES, *WORDS),
    scores=(0.0, 0.0, 0.0, *[0.0] * 256, -9, -9, -9, -9, -2.0, -1.0, -3.0, -4.0, -2.5, -9),
    special=frozenset({0, 1, 2}),
)


def merge_slowly(vocabulary, ids):
    """The definition: join the best pair, the leftmost of equals, until there is none."""
    ids, known = list(ids), {text: i for i, text in reversed(list(enumerate(vocabulary.tokens)))}
    while True:
        pairs = [
            (-vocabulary.scores[known[text]], at, known[text])
            for at in range(len(ids) - 1)
            if (text := vocabulary.tokens[ids[at]] + vocabulary.tokens[ids[at + 1]]) in known
        ]
        if not pairs:
            return ids
        _, at, joined = min(pairs)
        ids[at : at + 2] = [joined]


@given(st.text(alphabet="abc \u20ac\u00e9", max_size=40))
def test_fast_merging_equals_its_definition(text):
    start = VOCABULARY._characters(" " + text) if text else []
    assert VOCABULARY.encode(text, bos=False) == merge_slowly(VOCABULARY, start)


@given(st.text(max_size=60))
def test_any_text_survives(text):
    whole = text.encode("utf-8", errors="replace").decode()
    assert VOCABULARY.decode(VOCABULARY.encode(whole)) == whole


def test_unfinished_characters_are_held_back():
    stream, euro = VOCABULARY.stream(), [3 + byte for byte in "\u00e9".encode()]
    assert stream.push(euro[0]) == ""
    assert stream.push(euro[1]) == "\u00e9"
    stream.push(euro[0])
    assert stream.finish() == "\ufffd"


def test_names_of_control_tokens_are_text_unless_asked_for():
    assert 2 not in VOCABULARY.encode("</s>")
    assert VOCABULARY.encode("ab</s>b", special=True)[-2] == 2


@needs_stories
def test_golden_prompts_and_texts(tmp_path):
    path = STORIES / "stories260K.bin"
    save_tokenizer(Llama2cModel(path), STORIES / "stories260K.bin", tmp_path)
    for vocabulary in (open_tokenizer(tmp_path), from_llama2c(STORIES / "tok512.bin", 512)):
        for golden in golden_prompts():
            ids = golden["prompt_ids"] + golden["greedy_ids"]
            assert golden["text"].startswith(vocabulary.decode(golden["prompt_ids"]))
            assert vocabulary.decode(ids) == golden["text"]
            prompt = vocabulary.decode(golden["prompt_ids"])
            assert vocabulary.encode(prompt) == golden["prompt_ids"]


def gguf_metadata(kind="llama"):
    return {
        "tokenizer.ggml.model": kind,
        "tokenizer.ggml.tokens": [text.replace(" ", "\u2581") for text in VOCABULARY.tokens],
        "tokenizer.ggml.scores": list(VOCABULARY.scores),
        "tokenizer.ggml.token_type": [3, 3, 3, *[6] * 256, *[1] * len(WORDS)],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
    }


def test_gguf_vocabularies_are_scored_vocabularies():
    assert from_gguf_metadata(gguf_metadata()) == VOCABULARY
    with pytest.raises(ModelError, match="score"):
        from_gguf_metadata(gguf_metadata() | {"tokenizer.ggml.scores": [1.0]})


def byte_level():
    pytest.importorskip("tokenizers")
    from tokenizers.pre_tokenizers import ByteLevel

    letters = sorted(ByteLevel.alphabet())
    metadata = {
        "tokenizer.ggml.tokens": [*letters, "ab", "\u0120ab", "<|end|>"],
        "tokenizer.ggml.merges": ["a b", "\u0120 ab"],
        "tokenizer.ggml.token_type": [*[1] * 258, 3],
        "tokenizer.ggml.pre": "llama-bpe",
    }
    return HuggingFaceTokenizer(_byte_level(metadata), bos=-1, eos=(258,), chat_template="")


def test_byte_level_vocabularies_of_gguf():
    tokenizer = byte_level()
    ids = tokenizer.encode("ab ab \u00e9<|end|>")
    assert ids[:2] == [256, 257]
    assert ids[-1] == 258
    assert tokenizer.decode(ids) == "ab ab \u00e9"
    stream = tokenizer.stream()
    assert "".join(stream.push(token) for token in ids) + stream.finish() == "ab ab \u00e9"


def test_a_hugging_face_tokenizer_travels_with_the_shards(tmp_path):
    model, shards = tmp_path / "model", tmp_path / "shards"
    model.mkdir()
    byte_level()._tokenizer.save(str(model / "tokenizer.json"))
    options = {"chat_template": "{% for m in messages %}{{ m.content }}<|end|>{% endfor %}"}
    (model / "tokenizer_config.json").write_text(json.dumps(options))
    config = ModelConfig("qwen3", 8, 8, 1, 1, 1, 8, 259, 8, eos=(258,))
    save_tokenizer(synthetic(config), model, shards)
    tokenizer = open_tokenizer(shards)
    assert tokenizer.eos == (258,)
    assert encode_chat(tokenizer, [{"role": "user", "content": "ab"}]) == [256, 258]


def test_templates_run_in_a_sandbox():
    hostile = ScoredVocabulary(
        VOCABULARY.tokens,
        VOCABULARY.scores,
        VOCABULARY.special,
        chat_template="{{ ''.__class__.__mro__[1].__subclasses__() }}",
    )
    with pytest.raises(ModelError, match="template"):
        render_chat(hostile, [])


def test_without_a_template_a_transcript_is_written():
    text = render_chat(VOCABULARY, [{"role": "user", "content": "hi"}])
    assert text == "User: hi\nAssistant:"


@pytest.mark.parametrize("content", ["", "[]", "{", '{"tokens": 1}'])
def test_damaged_vocabularies_are_refused(content, tmp_path):
    (tmp_path / "vocabulary.json").write_text(content)
    with pytest.raises(ModelError):
        open_tokenizer(tmp_path)
