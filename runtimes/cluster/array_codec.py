"""Payloads in numpy: what the kernels must equal, and what runs without a compiler."""

from __future__ import annotations

import numpy as np

from runtimes.cluster.arrays import Bytes, Partial, array_of, bytes_of
from runtimes.cluster.buffers import Buffer, Rows
from runtimes.cluster.payload import GROUP, check_length
from runtimes.cluster.wire import Encoding

_ITEM_TYPE = {Encoding.F32: "<f4", Encoding.F16: "<f2", Encoding.FIXED: "<i8"}


class ArrayCodec:
    """The codec in numpy; see `runtimes.cluster.payload.Codec`.

    Args:
        encoding: of the payloads.
        capacity: most values of one payload.
    """

    def __init__(self, encoding: Encoding, capacity: int) -> None:
        self.encoding = encoding
        groups = -(-capacity // GROUP) if encoding is Encoding.INT8 else 0
        self._values = np.zeros((groups, GROUP), np.float32)
        self._magnitudes = np.zeros((groups, GROUP), np.float32)

    def encode(self, values: Rows, out: Buffer) -> None:
        """Write numbers as payload; see `Codec.encode`."""
        numbers, payload = array_of(values).reshape(-1), bytes_of(out)
        if self.encoding is Encoding.INT8:
            self._quantise(numbers, payload)
        else:
            with np.errstate(over="ignore"):  # beyond the range of fp16: infinity, as the cast says
                payload.view(_ITEM_TYPE[self.encoding])[:] = numbers

    def decode(self, payload: memoryview, out: Rows) -> None:
        """Read a payload; see `Codec.decode`."""
        check_length(self.encoding, payload, out)
        numbers = array_of(out).reshape(-1)
        if self.encoding is Encoding.INT8:
            _dequantise(np.frombuffer(payload, np.uint8), numbers)
        else:
            numbers[:] = np.frombuffer(payload, _ITEM_TYPE[self.encoding])

    def add_ranks(self, parts: Rows) -> None:
        """Add the rows; see `Codec.add_ranks`."""
        add_in_rank_order(array_of(parts))

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


def add_in_rank_order(parts: Partial) -> Partial:
    """Add the rows of (ranks, values) in the fixed order; ``parts`` is overwritten."""
    ranks = len(parts)
    power = 1 << (ranks.bit_length() - 1)
    parts[: ranks - power] += parts[power:]
    distance = 1
    while distance < power:
        parts[: power : 2 * distance] += parts[distance : power : 2 * distance]
        distance *= 2
    total: Partial = parts[0]
    return total


def _dequantise(data: Bytes, out: Partial) -> None:
    groups = -(-out.size // GROUP)
    scales = data[: 2 * groups].view("<f2").astype(np.float32)
    integers = data[2 * groups :].view(np.int8).reshape(groups, GROUP)
    if out.size == groups * GROUP:
        np.multiply(integers, scales[:, None], out=out.reshape(groups, GROUP))
    else:
        out[:] = (integers * scales[:, None]).reshape(-1)[: out.size]
