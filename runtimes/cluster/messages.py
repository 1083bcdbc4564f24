"""Control messages: JSON objects, each with a schema that is its dataclass.

A message is ``{"message": <name>, ...fields}``. `decode` accepts exactly the fields of the
dataclass, checks every type and bound, and builds nothing before all of it is checked.
"""

from __future__ import annotations

import dataclasses
import json
import re
import types
import typing
from dataclasses import dataclass
from typing import Any

from runtimes.cluster.wire import WireError

MAX_CONTROL = 64 << 10
_MAX_TEXT = 2048
_MAX_ITEMS = 1024
_MAX_INT = 1 << 53  # what every JSON reader holds exactly
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class ShardInfo:
    """One shard file: which rank, how long, SHA-256 of its bytes."""

    rank: int
    digest: str
    size: int

    def __post_init__(self) -> None:
        if not _DIGEST.fullmatch(self.digest):
            raise ValueError("digest is not 64 hexadecimal digits")


@dataclass(frozen=True)
class Member:
    """One device of a session: where it listens, its CURVE key, the ranks it computes."""

    address: str
    key: str
    ranks: tuple[int, ...]


@dataclass(frozen=True)
class Hello:
    """Head to worker: who are you."""

    version: str


@dataclass(frozen=True)
class Welcome:
    """Worker to head: capacity, and the shards that need not be sent."""

    version: str
    name: str
    max_ram: int
    cached: tuple[str, ...]
    loaded: tuple[str, ...]
    busy: bool


@dataclass(frozen=True)
class Prefetch:
    """Head to worker: have these shards in your cache."""

    epoch: int
    shards: tuple[ShardInfo, ...]


@dataclass(frozen=True)
class Fetch:
    """Worker to head: send chunks ``first .. first + count - 1`` of a shard."""

    epoch: int
    digest: str
    first: int
    count: int


@dataclass(frozen=True)
class Cached:
    """Worker to head: all shards are here, so many bytes came over the wire."""

    epoch: int
    received: int


@dataclass(frozen=True)
class Assign:
    """Head to worker: load your ranks for this session."""

    epoch: int
    session: str
    device: int
    members: tuple[Member, ...]
    topology: str
    encoding: int
    hidden: int
    max_rows: int
    slots: int
    capacity: int
    kv: str
    max_ram: int
    shards: tuple[ShardInfo, ...]


@dataclass(frozen=True)
class Loaded:
    """Worker to head: engines are ready."""

    epoch: int


@dataclass(frozen=True)
class Connect:
    """Head to worker: open your links to the other workers."""

    epoch: int


@dataclass(frozen=True)
class Join:
    """Worker to worker: I am this device of your session."""

    session: str
    device: int


@dataclass(frozen=True)
class Ready:
    """Worker to head: all links are open."""

    epoch: int


@dataclass(frozen=True)
class Probe:
    """Head to worker: what are you waiting for."""

    epoch: int


@dataclass(frozen=True)
class Status:
    """Worker to head: still here, waiting for these devices."""

    epoch: int
    waiting: tuple[int, ...]


@dataclass(frozen=True)
class Report:
    """Head to worker: how much memory do you use; the worker answers in kind."""

    peak_rss: int


@dataclass(frozen=True)
class Failed:
    """Worker to head: one clear line about what went wrong here."""

    epoch: int
    code: str
    what: str
    exit_code: int


@dataclass(frozen=True)
class Leave:
    """Head to worker: the session is over, keep the shards."""

    epoch: int


Message: typing.TypeAlias = (
    Hello
    | Welcome
    | Prefetch
    | Fetch
    | Cached
    | Assign
    | Loaded
    | Connect
    | Join
    | Ready
    | Probe
    | Status
    | Report
    | Failed
    | Leave
)
_BY_NAME: dict[str, type[Message]] = {
    kind.__name__.lower(): kind for kind in typing.get_args(Message)
}
_SCHEMAS: dict[type[Any], dict[str, Any]] = {
    kind: typing.get_type_hints(kind) for kind in (*_BY_NAME.values(), ShardInfo, Member)
}


def encode(message: Message) -> bytes:
    """Return a message as compact JSON."""
    body = {"message": type(message).__name__.lower(), **dataclasses.asdict(message)}
    return json.dumps(body, separators=(",", ":")).encode()


def decode(data: memoryview | bytes) -> Message:
    """Read a message of a peer that is hostile until checked.

    Args:
        data: the payload of a control frame.

    Returns:
        The message.

    Raises:
        WireError: E521, not JSON, no such message, or a field missing, unknown, of another type
            or out of bounds.
    """
    if len(data) > MAX_CONTROL:
        raise WireError("E521", f"control message of {len(data)} bytes (at most {MAX_CONTROL})")
    try:
        body = json.loads(bytes(data))
        kind = _BY_NAME[body.pop("message")]
        return typing.cast("Message", _build(kind, body))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise WireError("E521", f"malformed control message: {error!r:.200}") from None


def _build(kind: type[Any], body: dict[str, Any]) -> object:
    schema = _SCHEMAS[kind]
    if set(body) != set(schema):
        raise ValueError(f"fields of {kind.__name__}: {sorted(set(body) ^ set(schema))!r:.100}")
    return kind(**{name: _value(schema[name], body[name], name) for name in schema})


def _value(expected: Any, value: Any, name: str) -> object:
    """Check one value against its declared type."""
    if isinstance(expected, types.GenericAlias):
        if not isinstance(value, list) or len(value) > _MAX_ITEMS:
            raise ValueError(f"{name} is not a short list")
        return tuple(_value(typing.get_args(expected)[0], item, name) for item in value)
    if dataclasses.is_dataclass(expected):
        if not isinstance(value, dict):
            raise ValueError(f"{name} is not an object")
        return _build(typing.cast("type[Any]", expected), value)
    if type(value) is not expected:
        raise ValueError(f"{name} is not of type {expected.__name__}")
    if expected is int and not 0 <= value <= _MAX_INT:
        raise ValueError(f"{name} is out of bounds")
    if expected is str and len(value) > _MAX_TEXT:
        raise ValueError(f"{name} is too long")
    return typing.cast("object", value)
