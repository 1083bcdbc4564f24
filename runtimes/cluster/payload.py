"""Numbers to payload bytes and back, and their sum over ranks, without allocation.

An encoding loses what it loses once: every rank uses the *decoded* form of its own partial sums
too, so all ranks add the same values and stay bit-identical. The kernels do it where there is a
compiler, else numpy (`runtimes.cluster.array_codec`): the same bytes and the same numbers.
"""

from __future__ import annotations

import ctypes
from typing import Protocol

from runtimes.cluster.buffers import Buffer, Rows
from runtimes.cluster.native.library import load
from runtimes.cluster.wire import Encoding, WireError
from toolchain.errors import ToolError

GROUP = 32

_ITEM_BYTES = {Encoding.F32: 4, Encoding.F16: 2, Encoding.FIXED: 8}


def payload_bytes(encoding: Encoding, values: int) -> int:
    """Bytes that ``values`` numbers take: int8 takes 34 per group of 32, the last one padded."""
    if encoding is Encoding.INT8:
        return -(-values // GROUP) * (GROUP + 2)
    return values * _ITEM_BYTES[encoding]


class Codec(Protocol):
    """Encodes, decodes and adds partial sums.

    Attributes:
        encoding: of the payloads.
    """

    encoding: Encoding

    def encode(self, values: Rows, out: Buffer) -> None:
        """Write numbers as payload.

        Args:
            values: float32 (int64 for `Encoding.FIXED`), in one piece.
            out: exactly ``payload_bytes(encoding, values.size)`` bytes.
        """
        ...

    def decode(self, payload: memoryview, out: Rows) -> None:
        """Read a payload.

        Args:
            payload: as long as ``out`` needs; see `check_length`.
            out: filled with its numbers.

        Raises:
            WireError: E521, the payload has another length.
        """
        ...

    def add_ranks(self, parts: Rows) -> None:
        """Add (ranks, values) into the first row in one fixed order; the others are overwritten.

        The order is a balanced tree; ranks beyond the largest power of two are folded in first.
        """
        ...


def open_codec(encoding: Encoding, capacity: int, *, kernels: bool = True) -> Codec:
    """Return the best codec there is.

    Args:
        encoding: of the payloads.
        capacity: most values of one payload; scratch for them is allocated here, once.
        kernels: whether to use the C functions if they can be built.
    """
    if kernels:
        try:
            return KernelCodec(encoding, capacity, load())
        except ToolError:
            pass
    from runtimes.cluster.array_codec import ArrayCodec

    return ArrayCodec(encoding, capacity)


class KernelCodec:
    """The codec in C; see `Codec`.

    Args:
        encoding: of the payloads.
        capacity: most values of one payload.
        library: the kernels.
    """

    def __init__(self, encoding: Encoding, capacity: int, library: ctypes.CDLL) -> None:
        self.encoding = encoding
        self._add = library.tessera_add_ranks
        if encoding in (Encoding.INT8, Encoding.F16):
            kind = "sums" if encoding is Encoding.INT8 else "halfs"
            self._encode = getattr(library, f"tessera_encode_{kind}")
            self._decode = getattr(library, f"tessera_decode_{kind}")
            # Where the address of what was received is not known, a copy has one.
            self._received = Buffer.zeros(payload_bytes(encoding, capacity))
        else:
            self._encode = self._decode = None

    def encode(self, values: Rows, out: Buffer) -> None:
        """Write numbers as payload; see `Codec.encode`."""
        if self._encode is None:
            out.view[:] = values.memory.view
        else:
            self._encode(values.address, values.size, out.address)

    def decode(self, payload: memoryview, out: Rows) -> None:
        """Read a payload; see `Codec.decode`."""
        check_length(self.encoding, payload, out)
        if self._decode is None:
            out.memory.view[:] = payload
        else:
            self._received.view[: len(payload)] = payload
            self._decode(self._received.address, out.size, out.address)

    def add_ranks(self, parts: Rows) -> None:
        """Add the rows; see `Codec.add_ranks`."""
        self._add(parts.address, parts.count, parts.columns, parts.fixed)


def check_length(encoding: Encoding, payload: memoryview, out: Rows) -> None:
    """Refuse a payload that is not as long as its numbers need (E521)."""
    expected = payload_bytes(encoding, out.size)
    if len(payload) != expected:
        raise WireError("E521", f"payload of {len(payload)} bytes, {expected} expected")
