"""Frames of the device protocol: COBS, a zero byte at the end, CRC-32.

The specification is ``runtimes/mcu/tsr_protocol.h``. Coding: S. Cheshire and M. Baker, "Consistent
Overhead Byte Stuffing", IEEE/ACM Transactions on Networking 7(2), 1999.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

PAYLOAD = 240
_HEAD, _CHECK = 2, 4
_LONGEST = _HEAD + PAYLOAD + _CHECK + 2


@dataclass(frozen=True)
class Frame:
    """A decoded frame: its kind (one letter), sequence number and payload."""

    kind: str
    sequence: int
    payload: bytes = b""

    def encode(self) -> bytes:
        """Return the bytes to send, the closing zero included."""
        body = bytes([ord(self.kind), self.sequence]) + self.payload
        body += zlib.crc32(body).to_bytes(4, "little")
        blocks = body.split(b"\0")
        return b"".join(bytes([len(block) + 1]) + block for block in blocks) + b"\0"


@dataclass
class Receiver:
    """Finds intact frames in a stream of bytes; noise between them is dropped."""

    _pending: bytearray = field(default_factory=bytearray)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Add received bytes; yield the frames they complete."""
        for piece in _cut(data):
            self._pending += piece
            if self._pending.endswith(b"\0"):
                frame = decode(bytes(self._pending[:-1]))
                self._pending.clear()
                if frame is not None:
                    yield frame
            elif len(self._pending) > _LONGEST:
                del self._pending[:-_LONGEST]


def _cut(data: bytes) -> Iterator[bytes]:
    *whole, rest = data.split(b"\0")
    yield from (piece + b"\0" for piece in whole)
    if rest:
        yield rest


def decode(coded: bytes) -> Frame | None:
    """Return the frame coded in ``coded`` (no zero bytes), ``None`` if it is damaged."""
    body, at = bytearray(), 0
    while at < len(coded):
        end = at + coded[at]
        if not at < end <= len(coded):
            return None
        body += coded[at + 1 : end]
        at = end
        if at < len(coded):
            body.append(0)
    content, check = bytes(body[:-_CHECK]), bytes(body[-_CHECK:])
    if len(content) < _HEAD or zlib.crc32(content).to_bytes(4, "little") != check:
        return None
    return Frame(chr(content[0]), content[1], content[_HEAD:])
