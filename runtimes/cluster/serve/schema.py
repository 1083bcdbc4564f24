"""Request bodies of the OpenAI API, checked before anything is made of them.

Fields as in OpenAI's API reference for ``/v1/chat/completions`` and ``/v1/completions``; ``top_k``
and ``min_p`` are added. What would change an answer and is not supported is refused rather than
ignored; fields that nobody here knows are ignored.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runtimes.cluster.sampling import Sampling
from toolchain.errors import UsageError

MAX_BODY = 2 << 20
_MAX_MESSAGES = 4096
_MAX_STOPS = 16
_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}
# Fields that ask for something else than one plain answer, and values that do not.
_NEUTRAL: dict[str, tuple[object, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "echo": (False,),
    "suffix": ("",),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "tools": ([],),
    "functions": ([],),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
}


@dataclass(frozen=True)
class Wish:
    """What a client asks for, apart from the prompt.

    Attributes:
        sampling: how tokens are chosen; without a seed from the client a fresh one.
        max_tokens: of the answer; None for all that fit.
        stop: strings that end it.
        stream: as server-sent events.
        usage: the stream ends with token counts.
    """

    sampling: Sampling
    max_tokens: int | None
    stop: tuple[str, ...]
    stream: bool
    usage: bool


def parse_json(body: bytes) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        UsageError: E135, it is not one.
    """
    try:
        values = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UsageError("E135", f"the body is not JSON: {error}"[:200]) from None
    if not isinstance(values, dict):
        raise UsageError("E135", "the body is not a JSON object")
    return values


def parse_wish(values: Mapping[str, Any]) -> Wish:
    """Read everything but the prompt.

    Raises:
        UsageError: E119 or E135, a field has a wrong type or value; E136, it is not supported.
    """
    for name, neutral in _NEUTRAL.items():
        if values.get(name) is not None and values[name] not in neutral:
            raise UsageError("E136", f"{name} is not supported", where=name)
    name = "max_tokens" if values.get("max_completion_tokens") is None else "max_completion_tokens"
    limit = _number(values, name, None, whole=True)
    options = values.get("stream_options") or {}
    if not isinstance(options, dict):
        raise UsageError("E135", "stream_options must be an object", where="stream_options")
    return Wish(
        sampling=_sampling(values),
        max_tokens=None if limit is None else int(limit),
        stop=_stops(values.get("stop")),
        stream=_flag(values, "stream"),
        usage=_flag(options, "include_usage"),
    )


def parse_messages(values: Mapping[str, Any]) -> list[dict[str, str]]:
    """Read the messages of a chat.

    Raises:
        UsageError: E135, they are missing or malformed; E136, a part is not text.
    """
    messages = values.get("messages")
    if not isinstance(messages, list) or not 0 < len(messages) <= _MAX_MESSAGES:
        raise UsageError(
            "E135", f"messages must be a list of 1 to {_MAX_MESSAGES} messages", where="messages"
        )
    return [_message(message, f"messages[{i}]") for i, message in enumerate(messages)]


def parse_prompt(values: Mapping[str, Any]) -> str | tuple[int, ...]:
    """Read the prompt of a completion: a text, a list with one text, or token ids.

    Raises:
        UsageError: E135.
    """
    prompt = values.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], (str, list)):
        prompt = prompt[0]
    if isinstance(prompt, str):
        return _clean(prompt)
    if isinstance(prompt, list) and prompt and all(type(token) is int for token in prompt):
        return tuple(prompt)
    raise UsageError("E135", "prompt must be a text, or a list of token ids", where="prompt")


def _message(message: object, where: str) -> dict[str, str]:
    if not isinstance(message, dict):
        raise UsageError("E135", f"{where} must be an object", where=where)
    role = message.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        known = ", ".join(_ROLES)
        raise UsageError("E135", f"{where}.role must be one of {known}", where=f"{where}.role")
    return {"role": _ROLES[role], "content": _content(message.get("content"), f"{where}.content")}


def _content(content: object, where: str) -> str:
    """Join a text, or a list of text parts."""
    if isinstance(content, str):
        return _clean(content)
    if not isinstance(content, list):
        raise UsageError("E135", f"{where} must be a text", where=where)
    texts = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind != "text":
            raise UsageError("E136", f"{where}: only parts of type text are supported", where=where)
        if not isinstance(part.get("text"), str):
            raise UsageError("E135", f"{where}: a part without text", where=where)
        texts.append(_clean(part["text"]))
    return "".join(texts)


def _sampling(values: Mapping[str, Any]) -> Sampling:
    seed = _number(values, "seed", None, whole=True)
    return Sampling(
        temperature=_number(values, "temperature", 1.0) or 0.0,
        top_k=int(_number(values, "top_k", 0, whole=True) or 0),
        top_p=_required(values, "top_p", 1.0),
        min_p=_required(values, "min_p", 0.0),
        seed=secrets.randbits(63) if seed is None else int(seed) & ((1 << 63) - 1),
    )


def _required(values: Mapping[str, Any], name: str, default: float) -> float:
    value = _number(values, name, default)
    return default if value is None else value


def _number(
    values: Mapping[str, Any], name: str, default: float | None, *, whole: bool = False
) -> float | None:
    value = values.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        kind = "a whole number" if whole else "a number"
        raise UsageError("E135", f"{name} must be {kind}, not {value!r:.40}", where=name)
    return value


def _flag(values: Mapping[str, Any], name: str) -> bool:
    value = values.get(name)
    if value is not None and not isinstance(value, bool):
        raise UsageError("E135", f"{name} must be true or false, not {value!r:.40}", where=name)
    return bool(value)


def _stops(stop: object) -> tuple[str, ...]:
    stops: Sequence[object] = [stop] if isinstance(stop, str) else stop or []  # type: ignore[assignment]
    texts = isinstance(stops, list) and all(isinstance(text, str) and text for text in stops)
    if not texts or len(stops) > _MAX_STOPS:
        raise UsageError("E135", f"stop must be a text or up to {_MAX_STOPS} texts", where="stop")
    return tuple(_clean(str(text)) for text in stops)


def _clean(text: str) -> str:
    """Replace halves of surrogate pairs, which JSON can write and no encoding can."""
    return text.encode("utf-8", "replace").decode("utf-8")
