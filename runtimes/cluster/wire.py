"""The wire format: every ZeroMQ message is one 32-byte header and its payload.

Little-endian header::

    0  u16  magic 0x7E55       12 u16 block              24 u8   sender (device index)
    2  u8   version            14 u16 slot               25 u8   stage of an exchange
    3  u8   kind               16 u32 position           26 u8   encoding of the payload
    4  u32  epoch              20 u16 rows               27 u8   flags, zero
    8  u32  step               22 u16 wanted logit rows  28 u32  payload bytes

A header is checked field by field before anything is allocated or computed from it; nothing on
the wire is executed or unpickled. `CONTROL` payloads are JSON (`runtimes.cluster.messages`), all
others are numbers or shard bytes.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

from toolchain.errors import DeviceError

MAGIC = 0x7E55
VERSION = 1
CHUNK_BYTES = 1 << 20
MAX_PAYLOAD = CHUNK_BYTES
_HEADER = struct.Struct("<HBBIIHHIHHBBBBI")
HEADER_BYTES = _HEADER.size
MAX_FRAME = HEADER_BYTES + MAX_PAYLOAD


class Kind(IntEnum):
    """What a frame carries."""

    CONTROL = 1  # a JSON message
    HIDDEN = 2  # head to workers: rows of the residual stream, begins a step
    PARTIAL = 3  # partial sums of one block, or their total
    LOGITS = 4  # worker to head: classifier rows
    TRUNCATE = 5  # head to workers: forget a slot from `position` on
    CHUNK = 6  # head to worker: one piece of a shard file
    ECHO = 7  # answered by its header alone: measures a link


class Encoding(IntEnum):
    """How numbers are written in a payload."""

    NONE = 0
    F32 = 1
    F16 = 2
    INT8 = 3  # groups of 32: all fp16 scales, then all int8 values
    FIXED = 4  # int64 in units of 2^-24, for order-free sums


class WireError(DeviceError):
    """A frame breaks the format (E521), speaks another version (E522) or proves no key (E523)."""


class Header(NamedTuple):
    """The fixed part of a frame; see the module for units and widths."""

    kind: Kind
    epoch: int = 0
    step: int = 0
    block: int = 0
    slot: int = 0
    position: int = 0
    rows: int = 0
    wanted: int = 0
    sender: int = 0
    stage: int = 0
    encoding: Encoding = Encoding.NONE
    length: int = 0

    def pack(self) -> bytes:
        """Return the 32 bytes."""
        numbers = (self.epoch, self.step, self.block, self.slot, self.position, self.rows)
        ends = (self.wanted, self.sender, self.stage, self.encoding, 0, self.length)
        return _HEADER.pack(MAGIC, VERSION, self.kind, *numbers, *ends)


class Frame(NamedTuple):
    """A received message.

    Attributes:
        header: checked.
        payload: a view of what was received.
    """

    header: Header
    payload: memoryview


def parse(data: memoryview | bytes | bytearray) -> Frame:
    """Check and read one message.

    Args:
        data: the whole message.

    Returns:
        Its header, and a view of the payload (nothing is copied).

    Raises:
        WireError: E521, not a frame of this format or its length is not the promised one;
            E522, a frame of another version.
    """
    view = memoryview(data)
    if len(view) < HEADER_BYTES:
        raise WireError("E521", f"malformed frame: {len(view)} bytes, shorter than a header")
    magic, version, kind, *fields, encoding, flags, length = _HEADER.unpack_from(view)
    if magic != MAGIC:
        raise WireError("E521", f"malformed frame: starts with {magic:#06x}")
    if version != VERSION:
        raise WireError(
            "E522",
            f"peer speaks wire version {version}, this device speaks {VERSION}",
            numbers={"theirs": version, "ours": VERSION},
            hints=["pip install --upgrade tessera   (on both devices)"],
        )
    if kind not in _KINDS or encoding not in _ENCODINGS or flags:
        raise WireError("E521", f"malformed frame: kind {kind}, encoding {encoding}, flags {flags}")
    if length != len(view) - HEADER_BYTES or length > MAX_PAYLOAD:
        raise WireError(
            "E521", f"malformed frame: promises {length} bytes, brings {len(view) - HEADER_BYTES}"
        )
    header = Header(*(_KINDS[kind], *fields, _ENCODINGS[encoding], length))
    return Frame(header, view[HEADER_BYTES:])


_KINDS = {int(kind): kind for kind in Kind}
_ENCODINGS = {int(encoding): encoding for encoding in Encoding}
