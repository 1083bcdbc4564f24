"""Numbers to payload bytes and back, without allocation for the large arrays.

int8 payloads are made and read by the kernels where there is a compiler, else in numpy: the same
bytes and the same numbers.

An encoding loses what it loses once: every rank uses the *decoded* form of its own partial sums
too, so all ranks add the same values and stay bit-identical.
"""

from __future__ import annotations

import ctypes
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from runtimes.cluster.engine import Partial
from runtimes.cluster.native.library import load
from runtimes.cluster.wire import Encoding, WireError
from toolchain.errors import ToolError

GROUP = 32
Bytes: TypeAlias = npt.NDArray[np.uint8]

_ITEM_BYTES = {Encoding.F32: 4, Encoding.F16: 2, Encoding.FIXED: 8}
_ITEM_TYPE = {Encoding.F32: "<f4", Encoding.F16: "<f2", Encoding.FIXED: "<i8"}


def payload_bytes(encoding: Encoding, values: int) -> int:
    """Bytes that ``values`` numbers take: int8 takes 34 per group of 32, the last one padded."""
    if encoding is Encoding.INT8:
        return -(-values // GROUP) * (GROUP + 2)
    return values * _ITEM_BYTES[encoding]


class Codec:
    """Encodes and decodes arrays of up to ``capacity`` values.

    Args:
        encoding: of the payloads.
        capacity: most values of one array; scratch for them is allocated here, once.
        kernels: whether to use the C functions if they can be built.
    """

    def __init__(self, encoding: Encoding, capacity: int, *, kernels: bool = True) -> None:
        self.encoding = encoding
        self.dtype = np.dtype(np.int64 if encoding is Encoding.FIXED else np.float32)
        is_int8 = encoding is Encoding.INT8
        self._library = _kernels() if is_int8 and kernels else None
        groups = -(-capacity // GROUP) if is_int8 and self._library is None else 0
        self._values = np.zeros((groups, GROUP), np.float32)
        self._magnitudes = np.zeros((groups, GROUP), np.float32)

    def size(self, values: int) -> int:
        """Bytes of a payload of so many values."""
        return payload_bytes(self.encoding, values)

    def encode(self, values: Partial, out: Bytes) -> None:
        """Write an array as payload.

        Args:
            values: float32 (int64 for `Encoding.FIXED`), any shape.
            out: exactly ``size(values.size)`` bytes.
        """
        if self._library is not None:
            flat = np.ascontiguousarray(values, np.float32)
            self._library.tessera_encode_sums(flat.ctypes.data, flat.size, out.ctypes.data)
        elif self.encoding is Encoding.INT8:
            self._quantise(values.reshape(-1), out)
        else:
            with np.errstate(over="ignore"):  # beyond the range of fp16: infinity, as the cast says
                out.view(_ITEM_TYPE[self.encoding])[:] = values.reshape(-1)

    def decode(self, data: memoryview | Bytes, out: Partial) -> None:
        """Read a payload into an array.

        Args:
            data: the payload.
            out: C-contiguous array of the expected size and `dtype`.

        Raises:
            WireError: E521, the payload has another length than ``out`` needs.
        """
        expected = self.size(out.size)
        if len(data) != expected:
            raise WireError("E521", f"payload of {len(data)} bytes, {expected} expected")
        if self._library is not None:
            source = np.frombuffer(data, np.uint8)
            self._library.tessera_decode_sums(source.ctypes.data, out.size, out.ctypes.data)
        elif self.encoding is Encoding.INT8:
            self._dequantise(np.frombuffer(data, np.uint8), out.reshape(-1))
        else:
            out.reshape(-1)[:] = np.frombuffer(data, _ITEM_TYPE[self.encoding])

    def _quantise(self, values: Partial, out: Bytes) -> None:
        """Scale = largest magnitude of the group / 127, as fp16; values rounded to nearest."""
        groups = -(-values.size // GROUP)
        x, magnitude = self._values[:groups], self._magnitudes[:groups]
        x.reshape(-1)[values.size :] = 0
        x.reshape(-1)[: values.size] = values
        np.abs(x, out=magnitude)
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            scales = (magnitude.max(1) * np.float32(1 / 127)).astype("<f2")
            inverse = np.float32(1) / scales.astype(np.float32)
            inverse[~np.isfinite(inverse)] = 0  # an empty group
            np.multiply(x, inverse[:, None], out=x)
            np.rint(x, out=x)
            np.clip(x, -127, 127, out=x)
            out[: 2 * groups].view("<f2")[:] = scales
            out[2 * groups :].view(np.int8)[:] = x.reshape(-1)

    def _dequantise(self, data: Bytes, out: Partial) -> None:
        groups = -(-out.size // GROUP)
        scales = data[: 2 * groups].view("<f2").astype(np.float32)
        integers = data[2 * groups :].view(np.int8).reshape(groups, GROUP)
        if out.size == groups * GROUP:
            np.multiply(integers, scales[:, None], out=out.reshape(groups, GROUP))
        else:
            out[:] = (integers * scales[:, None]).reshape(-1)[: out.size]


def _kernels() -> ctypes.CDLL | None:
    try:
        return load()
    except ToolError:
        return None
