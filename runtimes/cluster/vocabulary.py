"""Tokens with scores: the vocabulary of llama2.c and of GGUF files made from SentencePiece.

Encoding is the byte-pair merge of SentencePiece (Kudo & Richardson 2018, arXiv 1808.06226): of all
neighbours that form a token, the one of the best score is joined first, the leftmost of equals;
characters without a token fall back to their bytes.
"""

from __future__ import annotations

import codecs
import heapq
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from toolchain.errors import ModelError

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>\Z")
_SPACE = "\u2581"  # SentencePiece writes a space as a lower one eighth block


@dataclass(frozen=True)
class ScoredVocabulary:
    """A tokenizer made of tokens and scores.

    Attributes:
        tokens: text of each token; spaces are plain spaces, bytes are ``<0x0A>``.
        scores: of each token; the higher, the sooner it is formed.
        special: ids of control tokens, which have no text of their own.
        bos: id that starts a text, -1 for none.
        eos: ids that end a text.
        space_prefix: a space is put before the first word.
        chat_template: Jinja text, empty for none.
    """

    tokens: tuple[str, ...]
    scores: tuple[float, ...]
    special: frozenset[int]
    bos: int = 1
    eos: tuple[int, ...] = (2,)
    space_prefix: bool = True
    chat_template: str = field(default="", repr=False)

    def encode(self, text: str, *, bos: bool = True, special: bool = False) -> list[int]:
        """Turn text into token ids.

        Args:
            text: any text.
            bos: start with the token that starts a text.
            special: read the names of control tokens as these tokens (chat templates).
        """
        ids = [self.bos] if bos and self.bos >= 0 else []
        parts = self._split_special(text) if special else [text]
        for number, part in enumerate(parts):
            if number % 2:
                ids.append(self._ids[part])
            elif part:
                first = " " if self.space_prefix and number == 0 else ""
                ids += self._merge(first + part)
        return ids

    def decode(self, ids: list[int]) -> str:
        """Turn token ids into text; control tokens have none."""
        decoder = self.stream()
        return "".join(decoder.push(token) for token in ids) + decoder.finish()

    def stream(self) -> VocabularyStream:
        """Return a decoder for tokens that come one by one."""
        return VocabularyStream(self)

    def name_of(self, token: int) -> str:
        """Return how a template writes a control token; empty for -1."""
        return self.tokens[token].strip() if token >= 0 else ""

    def bytes_of(self, token: int) -> bytes:
        """Return a token's bytes; a character may be spread over several tokens."""
        if token in self.special or not 0 <= token < len(self.tokens):
            return b""
        if match := _BYTE.match(self.tokens[token]):
            return bytes([int(match[1], 16)])
        return self.tokens[token].encode("utf-8", errors="surrogateescape")

    def as_dict(self) -> dict[str, Any]:
        """Return the vocabulary as JSON-ready values."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**fields, "special": sorted(self.special)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ScoredVocabulary:
        """Read a vocabulary back from `as_dict`.

        Raises:
            ModelError: E226, keys are missing or lists are of different lengths.
        """
        try:
            fields = {**values, "special": frozenset(values["special"])}
            for name in ("tokens", "scores", "eos"):
                fields[name] = tuple(values[name])
            vocabulary = cls(**fields)
        except (KeyError, TypeError) as error:
            raise ModelError("E226", f"damaged vocabulary: {error!r:.80}") from error
        if len(vocabulary.tokens) != len(vocabulary.scores):
            raise ModelError("E226", "a vocabulary has not one score for each token")
        return vocabulary

    @cached_property
    def _ids(self) -> dict[str, int]:
        """Token ids by text; of equal texts the first."""
        ids: dict[str, int] = {}
        for token, text in enumerate(self.tokens):
            ids.setdefault(text, token)
        return ids

    @cached_property
    def _special_pattern(self) -> re.Pattern[str]:
        names = sorted((self.tokens[token] for token in self.special), key=len, reverse=True)
        return re.compile("(" + "|".join(re.escape(name) for name in names if name) + ")")

    def _split_special(self, text: str) -> list[str]:
        """Text at even places, names of control tokens at odd ones."""
        return self._special_pattern.split(text) if self.special else [text]

    def _characters(self, text: str) -> list[int]:
        ids: list[int] = []
        for character in text:
            token = self._ids.get(character)
            fallback = [f"<0x{byte:02X}>" for byte in character.encode(errors="surrogateescape")]
            ids += [token] if token is not None else [self._ids.get(b, 0) for b in fallback]
        return ids

    def _merge(self, text: str) -> list[int]:
        """Join the best-scored neighbours until none form a token: O(n log n) by a heap."""
        ids: list[int | None] = list(self._characters(text))
        count = len(ids)
        left = list(range(-1, count - 1))
        right = list(range(1, count + 1))
        heap: list[tuple[float, int, int, int, int]] = []

        def consider(at: int) -> None:
            after = right[at] if at >= 0 else count
            if at < 0 or after >= count:
                return
            first, second = ids[at], ids[after]
            if first is None or second is None:
                return
            joined = self._ids.get(self.tokens[first] + self.tokens[second])
            if joined is not None and joined not in self.special:
                heapq.heappush(heap, (-self.scores[joined], at, joined, first, second))

        for at in range(count - 1):
            consider(at)
        while heap:
            _, at, joined, first, second = heapq.heappop(heap)
            after = right[at]
            if ids[at] != first or after >= count or ids[after] != second:
                continue  # one of the two was joined elsewhere
            ids[at], ids[after] = joined, None
            right[at] = right[after]
            if right[at] < count:
                left[right[at]] = at
            consider(left[at])
            consider(at)
        return [token for token in ids if token is not None]


class VocabularyStream:
    """Text of tokens as they come; holds back the bytes of an unfinished character."""

    def __init__(self, vocabulary: ScoredVocabulary) -> None:
        self._vocabulary = vocabulary
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._first = True

    def push(self, token: int) -> str:
        """Return the text that a token completes, perhaps none."""
        text = self._decoder.decode(self._vocabulary.bytes_of(token))
        if self._first and text:
            self._first = False
            if self._vocabulary.space_prefix:
                return text.removeprefix(" ")
        return text

    def finish(self) -> str:
        """Return what an unfinished character leaves."""
        return self._decoder.decode(b"", final=True)


def from_llama2c(path: Path, count: int) -> ScoredVocabulary:
    """Read a ``tokenizer.bin`` of llama2.c.

    Args:
        path: the file: int32 longest token; per token float32 score, int32 length, bytes.
        count: tokens of the model.

    Raises:
        ModelError: E226, the file is cut short or damaged.
    """
    data = path.read_bytes()
    tokens: list[str] = []
    scores: list[float] = []
    offset = 4
    for _ in range(count):
        head = memoryview(data)[offset : offset + 8]
        length = int.from_bytes(head[4:8], "little", signed=True)
        if len(head) < 8 or length < 0 or offset + 8 + length > len(data):
            raise ModelError("E226", f"the vocabulary ends after {len(tokens)}", where=str(path))
        scores.append(float(head[:4].cast("f")[0]))
        text = data[offset + 8 : offset + 8 + length]
        tokens.append(text.decode("utf-8", errors="surrogateescape"))
        offset += 8 + length
    return ScoredVocabulary(tuple(tokens), tuple(scores), frozenset({0, 1, 2}), eos=(1, 2))


def from_gguf_metadata(metadata: dict[str, Any]) -> ScoredVocabulary:
    """Read the vocabulary of a GGUF file whose ``tokenizer.ggml.model`` is ``llama``.

    Raises:
        ModelError: E226, lists are missing or of different lengths.
    """
    key = "tokenizer.ggml."
    kinds = metadata.get(f"{key}token_type", [])
    eos = (metadata.get(f"{key}{name}") for name in ("eos_token_id", "eot_token_id"))
    return ScoredVocabulary.from_dict(
        {
            "tokens": [text.replace(_SPACE, " ") for text in metadata.get(f"{key}tokens", [])],
            "scores": metadata.get(f"{key}scores", []),
            "special": [token for token, kind in enumerate(kinds) if kind in (2, 3)],
            "bos": metadata.get(f"{key}bos_token_id", 1),
            "eos": [token for token in eos if token is not None],
            "space_prefix": metadata.get(f"{key}add_space_prefix", True),
            "chat_template": metadata.get("tokenizer.chat_template", ""),
        }
    )
