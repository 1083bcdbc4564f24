"""GGUF files (version 2 and 3), read lazily: metadata, then rows of one tensor at a time.

Format: ``docs/gguf.md`` of ggml-org/ggml. Tensor types F32, F16, BF16, Q4_0 and Q8_0. Everything
read is checked before it is believed: counts, lengths and offsets come from strangers.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from runtimes.cluster.arrays import F32
from runtimes.cluster.formats.base import checked_rows, tensor_shapes
from runtimes.cluster.formats.raw import decode, row_bytes
from toolchain.cluster.config import ModelConfig
from toolchain.cluster.config_readers import from_gguf
from toolchain.errors import ModelError

_SCALARS = {0: "B", 1: "b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "?"}
_SCALARS |= {10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_TYPES = {0: "F32", 1: "F16", 2: "Q4_0", 8: "Q8_0", 30: "BF16"}
_MOST = 1 << 22  # entries of anything
_LONGEST = 1 << 24  # bytes of a string

_NAMES = {
    "attention_norm": "attn_norm.weight",
    "feed_forward_norm": "ffn_norm.weight",
    "attention_post_norm": "post_attention_norm.weight",
    "feed_forward_post_norm": "post_ffw_norm.weight",
    "q": "attn_q.weight",
    "k": "attn_k.weight",
    "v": "attn_v.weight",
    "o": "attn_output.weight",
    "q_bias": "attn_q.bias",
    "k_bias": "attn_k.bias",
    "v_bias": "attn_v.bias",
    "q_norm": "attn_q_norm.weight",
    "k_norm": "attn_k_norm.weight",
    "gate": "ffn_gate.weight",
    "up": "ffn_up.weight",
    "down": "ffn_down.weight",
}
_GLOBAL = {
    "embedding": "token_embd.weight",
    "final_norm": "output_norm.weight",
    "classifier": "output.weight",
}


@dataclass(frozen=True)
class _Tensor:
    """Where a tensor lies: shape (rows first), type name, offset in the file."""

    shape: tuple[int, ...]
    kind: str
    offset: int


class GgufModel:
    """A GGUF file as a `WeightSource`.

    Attributes:
        metadata: all key-value pairs, with the vocabulary of the tokenizer.

    Raises:
        ModelError: E222 the file is damaged or cut short, E221 an architecture or tensor type
            that is not supported.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                self.metadata, self._tensors = _Parser(file, path).parse()
            self.config = self._config()
        except (struct.error, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise ModelError("E222", f"damaged GGUF file: {error}", where=str(path)) from error
        self._shapes = tensor_shapes(self.config)

    def rows(self, name: str, start: int, stop: int) -> F32:
        """Read rows of a tensor; see `WeightSource.rows`."""
        tensor = self._tensor(name)
        shape = checked_rows(tensor.shape, name, start, stop)
        size = row_bytes(tensor.kind, math.prod(shape[1:]))
        raw = self._read(tensor.offset + start * size, (stop - start) * size)
        return decode(np.frombuffer(raw, np.uint8), tensor.kind).reshape(shape)

    def close(self) -> None:
        """Nothing stays open between reads."""

    def _tensor(self, name: str) -> _Tensor:
        prefix, _, kind = name.rpartition(".")
        if prefix:
            stored = f"blk.{prefix.removeprefix('layers.')}.{_NAMES.get(kind, '')}"
        else:
            tied = self.config.tied and name == "classifier"
            stored = _GLOBAL.get("embedding" if tied else name, "")
        tensor = self._tensors.get(stored)
        if tensor is None or tensor.shape != self._shapes.get(name):
            shape = f"has shape {tensor.shape}" if tensor else "is missing"
            raise ModelError(
                "E223",
                f"tensor {stored or name} {shape}, expected {self._shapes.get(name)}",
                where=str(self.path),
            )
        return tensor

    def _config(self) -> ModelConfig:
        divisors = None
        if factors := self._tensors.get("rope_freqs.weight"):
            if len(factors.shape) != 1 or factors.shape[0] > 1024 or factors.kind != "F32":
                raise ModelError("E223", "rope_freqs.weight is not a short float32 vector")
            raw = self._read(factors.offset, 4 * factors.shape[0])
            divisors = np.frombuffer(raw, "<f4").tolist()
        tied = "output.weight" not in self._tensors
        return from_gguf(self.metadata, tied=tied, rope_divisors=divisors)

    def _read(self, offset: int, size: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(offset)
            return read_exactly(file, size, self.path)


class _Parser:
    """Reads the header of a GGUF file, front to back."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self.path = path

    def parse(self) -> tuple[dict[str, Any], dict[str, _Tensor]]:
        """Return the metadata and where the tensors lie."""
        magic, version = self._read(4), self._number("<I")
        if magic != b"GGUF" or version not in (2, 3):
            raise ModelError("E201", "not a GGUF file of version 2 or 3", where=str(self.path))
        tensors, pairs = self._count(), self._count()
        metadata: dict[str, Any] = {}
        for _ in range(pairs):
            key = self._string()
            metadata[key] = self._value(self._number("<I"))
        infos = [self._info() for _ in range(tensors)]
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or not 1 <= alignment <= 1 << 20:
            raise ModelError("E222", f"GGUF alignment {alignment!r:.20}", where=str(self.path))
        start = -(-self._file.tell() // alignment) * alignment
        return metadata, {
            name: _Tensor(shape, kind, start + offset) for name, shape, kind, offset in infos
        }

    def _info(self) -> tuple[str, tuple[int, ...], str, int]:
        name, dimensions = self._string(), self._number("<I")
        if not 1 <= dimensions <= 4:
            raise ModelError("E222", f"tensor {name!r:.60} has {dimensions} dimensions")
        shape = tuple(self._number("<Q") for _ in range(dimensions))[::-1]
        kind = self._number("<I")
        return name, shape, _TYPES.get(kind, f"type {kind}"), self._number("<Q")

    def _value(self, kind: int, depth: int = 0) -> Any:
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY and depth < 2:
            item, count = self._number("<I"), self._count()
            if item in _SCALARS:
                size = struct.calcsize(_SCALARS[item])
                code = _SCALARS[item].lstrip("<")
                return list(struct.unpack(f"<{count}{code}", self._read(count * size)))
            return [self._value(item, depth + 1) for _ in range(count)]
        if kind not in _SCALARS:
            raise ModelError("E222", f"unknown GGUF value type {kind}", where=str(self.path))
        return self._number(_SCALARS[kind])

    def _string(self) -> str:
        length = self._number("<Q")
        if length > _LONGEST:
            raise ModelError("E222", f"a string of {length} bytes", where=str(self.path))
        return self._read(length).decode("utf-8", errors="surrogateescape")

    def _count(self) -> int:
        count = self._number("<Q")
        if count > _MOST:
            raise ModelError("E222", f"{count} entries are too many", where=str(self.path))
        return int(count)

    def _number(self, code: str) -> Any:
        return struct.unpack(code, self._read(struct.calcsize(code)))[0]

    def _read(self, size: int) -> bytes:
        return read_exactly(self._file, size, self.path)


def read_exactly(file: BinaryIO, size: int, path: Path) -> bytes:
    """Read ``size`` bytes, or fail with E222; a hostile size allocates no more than the file."""
    remaining = path.stat().st_size - file.tell() if size > 1 << 16 else size
    data = file.read(size) if size <= remaining else b""
    if len(data) != size:
        raise ModelError("E222", "the file is cut short", where=str(path))
    return data
