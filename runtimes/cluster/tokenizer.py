"""Text to tokens and back, for every model format, and chat templates.

A converted model carries its tokenizer beside its shards: ``tokenizer.json`` is the file of the
Hugging Face ``tokenizers`` library, ``vocabulary.json`` our own form of scored tokens; only the
head device needs either. ``chat.json`` holds the template and the ids that end an answer.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from runtimes.cluster.formats.base import WeightSource
from runtimes.cluster.vocabulary import ScoredVocabulary, from_gguf_metadata, from_llama2c
from toolchain.errors import ModelError

# How byte-level vocabularies cut text into words (GPT-2's, and Llama 3's and Qwen 2's variants).
_GPT2_WORDS = (
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
)
_WORDS = {"gpt-2": 0, "default": 0, "llama-bpe": 1, "llama3": 1, "smaug-bpe": 1, "qwen2": 2}


class Stream(Protocol):
    """Decodes tokens that come one by one."""

    def push(self, token: int) -> str:
        """Return the text that a token completes, perhaps none."""
        ...

    def finish(self) -> str:
        """Return what is left."""
        ...


class Tokenizer(Protocol):
    """What the head needs of a vocabulary.

    Attributes:
        bos: id that starts a text, -1 for none.
        eos: ids that end an answer.
        chat_template: Jinja text, empty for none.
    """

    @property
    def bos(self) -> int: ...  # noqa: D102

    @property
    def eos(self) -> tuple[int, ...]: ...  # noqa: D102

    @property
    def chat_template(self) -> str: ...  # noqa: D102

    def encode(self, text: str, *, bos: bool = True, special: bool = False) -> list[int]:
        """Turn text into token ids."""
        ...

    def decode(self, ids: list[int]) -> str:
        """Turn token ids into text."""
        ...

    def stream(self) -> Stream:
        """Return a decoder for tokens that come one by one."""
        ...

    def name_of(self, token: int) -> str:
        """Return how a template writes a control token; empty for -1."""
        ...


class HuggingFaceTokenizer:
    """A ``tokenizer.json`` through the ``tokenizers`` library.

    Args:
        tokenizer: a ``tokenizers.Tokenizer``.
        bos: id that starts a text, -1 for none.
        eos: ids that end an answer.
        chat_template: Jinja text.
    """

    def __init__(
        self, tokenizer: Any, *, bos: int, eos: tuple[int, ...], chat_template: str
    ) -> None:
        self._tokenizer = tokenizer
        self.bos = bos
        self.eos = eos
        self.chat_template = chat_template

    def encode(self, text: str, *, bos: bool = True, special: bool = False) -> list[int]:
        """Turn text into token ids; see `Tokenizer.encode`."""
        del special  # the library always reads the names of its special tokens
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return [self.bos, *ids] if bos and self.bos >= 0 else ids

    def decode(self, ids: list[int]) -> str:
        """Turn token ids into text."""
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True)
        return text

    def stream(self) -> Stream:
        """Return a decoder for tokens that come one by one."""
        return _HuggingFaceStream(self._tokenizer)

    def name_of(self, token: int) -> str:
        """Return how a template writes a control token; empty for -1."""
        return str(self._tokenizer.id_to_token(token) or "") if token >= 0 else ""


class _HuggingFaceStream:
    def __init__(self, tokenizer: Any) -> None:
        from tokenizers.decoders import DecodeStream

        self._tokenizer = tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)

    def push(self, token: int) -> str:
        return self._stream.step(self._tokenizer, token) or ""

    def finish(self) -> str:
        return ""


def save_tokenizer(source: WeightSource, path: Path, folder: Path) -> None:
    """Put a model's tokenizer beside its shards.

    Args:
        source: the opened model.
        path: where it came from: a folder, or a file; llama2.c models have their vocabulary in
            a ``tok*.bin`` or ``tokenizer.bin`` beside them.
        folder: of the shards.

    Raises:
        ModelError: E229 there is no tokenizer, E226 it is of a kind that is not supported.
    """
    from runtimes.cluster.formats.gguf import GgufModel

    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(source, GgufModel):
        _save_gguf(source.metadata, folder)
    elif path.is_dir():
        _save_huggingface(source, path, folder)
    else:
        vocabulary = from_llama2c(_vocabulary_beside(path), source.config.vocab)
        _write(folder / "vocabulary.json", vocabulary.as_dict())


def open_tokenizer(folder: Path) -> Tokenizer:
    """Open the tokenizer that `save_tokenizer` put into a folder.

    Raises:
        ModelError: E226 there is none or it is damaged, E203 the library for it is missing.
    """
    if (folder / "vocabulary.json").exists():
        return ScoredVocabulary.from_dict(_read(folder / "vocabulary.json"))
    if not (folder / "tokenizer.json").exists():
        raise ModelError("E226", "no tokenizer beside the shards", where=str(folder))
    chat = _read(folder / "chat.json")
    try:
        tokenizer = _library().Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # the library raises bare Exception
        raise ModelError("E226", f"damaged tokenizer.json: {error}", where=str(folder)) from error
    return HuggingFaceTokenizer(
        tokenizer,
        bos=int(chat.get("bos", -1)),
        eos=tuple(chat.get("eos", ())),
        chat_template=str(chat.get("template", "")),
    )


def render_chat(tokenizer: Tokenizer, messages: Sequence[Mapping[str, str]]) -> str:
    """Write a conversation as the model was taught to read it, ready for its answer.

    Args:
        tokenizer: of the model; without a template a plain transcript is written.
        messages: each with ``role`` (system, user, assistant) and ``content``.

    Raises:
        ModelError: E227, the template refuses the conversation or is damaged.
    """
    if not tokenizer.chat_template:
        lines = [f"{message['role'].capitalize()}: {message['content']}" for message in messages]
        return "\n".join([*lines, "Assistant:"])
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = _refuse
    names = {"bos_token": tokenizer.name_of(tokenizer.bos)}
    names["eos_token"] = tokenizer.name_of(tokenizer.eos[0]) if tokenizer.eos else ""
    try:
        template = environment.from_string(tokenizer.chat_template)
        return template.render(messages=messages, add_generation_prompt=True, **names)
    except (jinja2.TemplateError, OverflowError, TypeError, ValueError) as error:
        raise ModelError("E227", f"the model's chat template failed: {error}") from error


def encode_chat(tokenizer: Tokenizer, messages: Sequence[Mapping[str, str]]) -> list[int]:
    """Tokens of a conversation, ready for the model's answer; see `render_chat`."""
    text = render_chat(tokenizer, messages)
    ids = tokenizer.encode(text, bos=False, special=True)
    starts = tokenizer.bos < 0 or ids[:1] == [tokenizer.bos]
    return ids if starts else [tokenizer.bos, *ids]


def _refuse(message: str) -> None:
    raise ValueError(message)


def _save_huggingface(source: WeightSource, path: Path, folder: Path) -> None:
    if not (path / "tokenizer.json").exists():
        raise ModelError("E229", "the model folder has no tokenizer.json", where=str(path))
    options = _read(path / "tokenizer_config.json", missing_ok=True)
    template = options.get("chat_template", "")
    if isinstance(template, list):  # several named templates
        named = {entry.get("name"): entry.get("template", "") for entry in template}
        template = named.get("default", "")
    if (path / "chat_template.jinja").exists():
        template = (path / "chat_template.jinja").read_text()
    shutil.copyfile(path / "tokenizer.json", folder / "tokenizer.json")
    add_bos = options.get("add_bos_token", source.config.family not in ("qwen2", "qwen3"))
    bos = source.config.bos if add_bos else -1
    chat = {"template": template, "bos": bos, "eos": source.config.eos}
    _write(folder / "chat.json", chat)


def _save_gguf(metadata: dict[str, Any], folder: Path) -> None:
    kind = metadata.get("tokenizer.ggml.model")
    if kind == "llama":
        _write(folder / "vocabulary.json", from_gguf_metadata(metadata).as_dict())
    elif kind == "gpt2":
        vocabulary = from_gguf_metadata({**metadata, "tokenizer.ggml.scores": _no_scores(metadata)})
        _byte_level(metadata).save(str(folder / "tokenizer.json"))
        bos = vocabulary.bos if metadata.get("tokenizer.ggml.add_bos_token", True) else -1
        _write(
            folder / "chat.json",
            {"template": vocabulary.chat_template, "bos": bos, "eos": vocabulary.eos},
        )
    else:
        raise ModelError("E226", f"GGUF tokenizer {kind!r:.40} is not supported (llama, gpt2)")


def _no_scores(metadata: dict[str, Any]) -> list[float]:
    return [0.0] * len(metadata.get("tokenizer.ggml.tokens", ()))


def _byte_level(metadata: dict[str, Any]) -> Any:
    """Make a byte-level BPE tokenizer from a GGUF vocabulary and its merges."""
    library = _library()
    tokens = metadata["tokenizer.ggml.tokens"]
    merges = [tuple(pair.split(" ", 1)) for pair in metadata.get("tokenizer.ggml.merges", ())]
    style = metadata.get("tokenizer.ggml.pre", "default")
    if style not in _WORDS:
        raise ModelError("E226", f"GGUF word rule {style!r:.40} is not supported")
    bpe = library.models.BPE(
        vocab={text: token for token, text in enumerate(tokens)},
        merges=merges,
        ignore_merges=style in ("llama-bpe", "llama3"),
    )
    tokenizer = library.Tokenizer(bpe)
    words = library.Regex(_GPT2_WORDS[_WORDS[style]])
    tokenizer.pre_tokenizer = library.pre_tokenizers.Sequence(
        [
            library.pre_tokenizers.Split(words, behavior="isolated"),
            library.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = library.decoders.ByteLevel()
    kinds = metadata.get("tokenizer.ggml.token_type", ())
    special = [tokens[token] for token, kind in enumerate(kinds) if kind == 3]
    tokenizer.add_special_tokens(special)
    return tokenizer


def _vocabulary_beside(path: Path) -> Path:
    found = [path.with_name("tokenizer.bin"), *sorted(path.parent.glob("tok*.bin"))]
    for candidate in found:
        if candidate.exists() and candidate != path:
            return candidate
    raise ModelError(
        "E229",
        "no tokenizer.bin beside the model",
        where=str(path),
        hints=["put the model's tokenizer.bin into the same folder"],
    )


def _library() -> Any:
    try:
        import tokenizers
    except ImportError as error:
        raise ModelError(
            "E203",
            "this model's vocabulary needs the package tokenizers",
            hints=["pip install --no-deps tokenizers"],
        ) from error
    return tokenizers


def _read(path: Path, *, missing_ok: bool = False) -> dict[str, Any]:
    if missing_ok and not path.exists():
        return {}
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError("E226", f"cannot be read: {error}", where=str(path)) from error
    if not isinstance(values, dict):
        raise ModelError("E226", "not a JSON object", where=str(path))
    return values


def _write(path: Path, values: Mapping[str, Any]) -> None:
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(json.dumps(values))
    fresh.replace(path)
