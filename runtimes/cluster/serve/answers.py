"""Bodies of answers in the two dialects of the OpenAI API: chat and plain completions."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from runtimes.cluster.generate import Finish
from toolchain.errors import TesseraError


@dataclass(frozen=True)
class Answer:
    """One answer's identity, and how its dialect writes it.

    Attributes:
        model: name of the model.
        is_chat: chat dialect rather than plain completions.
        id: of the answer.
        created: seconds since 1970.
    """

    model: str
    is_chat: bool
    id: str = field(default_factory=lambda: secrets.token_hex(12))
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, text: str, finish: Finish) -> dict[str, Any]:
        """Write the answer in one piece."""
        content: dict[str, Any] = {"text": text}
        if self.is_chat:
            content = {"message": {"role": "assistant", "content": text}}
        kind = "chat.completion" if self.is_chat else "text_completion"
        choice = {"index": 0, **content, "logprobs": None, "finish_reason": finish.reason}
        return {**self._head(kind), "choices": [choice], "usage": usage(finish)}

    def opening(self) -> list[dict[str, Any]]:
        """Events before the first text."""
        return [self._chunk({"role": "assistant", "content": ""}, None)] if self.is_chat else []

    def piece(self, text: str) -> dict[str, Any]:
        """Write one event of text."""
        return self._chunk({"content": text}, None) if self.is_chat else self._part(text, None)

    def ending(self, finish: Finish, *, with_usage: bool) -> list[dict[str, Any]]:
        """Events after the last text."""
        reason = finish.reason
        last = self._chunk({}, reason) if self.is_chat else self._part("", reason)
        if not with_usage:
            return [last]
        return [last, {**self._head(self._stream_kind), "choices": [], "usage": usage(finish)}]

    @property
    def _stream_kind(self) -> str:
        return "chat.completion.chunk" if self.is_chat else "text_completion"

    def _chunk(self, delta: dict[str, str], reason: str | None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return {**self._head(self._stream_kind), "choices": [choice]}

    def _part(self, text: str, reason: str | None) -> dict[str, Any]:
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": reason}
        return {**self._head(self._stream_kind), "choices": [choice]}

    def _head(self, kind: str) -> dict[str, Any]:
        prefix = "chatcmpl" if self.is_chat else "cmpl"
        return {
            "id": f"{prefix}-{self.id}",
            "object": kind,
            "created": self.created,
            "model": self.model,
        }


def usage(finish: Finish) -> dict[str, Any]:
    """Token counts as the OpenAI API writes them."""
    return {
        "prompt_tokens": finish.prompt_tokens,
        "completion_tokens": finish.generated_tokens,
        "total_tokens": finish.prompt_tokens + finish.generated_tokens,
        "prompt_tokens_details": {"cached_tokens": finish.cached_tokens},
    }


def error_body(error: TesseraError) -> dict[str, Any]:
    """Write an error as clients of the OpenAI API expect it."""
    kind = "invalid_request_error" if error.exit_code == 2 else "server_error"
    return {
        "error": {"message": error.what, "type": kind, "param": error.where, "code": error.code}
    }
