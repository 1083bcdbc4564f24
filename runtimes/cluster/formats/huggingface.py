"""Hugging Face model folders: ``config.json`` and safetensors files, whole or sharded.

Format: the safetensors README (8 bytes of header length, a JSON header, raw little-endian data).
Nothing is unpickled; rows are read from the file when they are asked for.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runtimes.cluster.arrays import F32
from runtimes.cluster.formats.base import checked_rows, tensor_shapes
from runtimes.cluster.formats.gguf import read_exactly
from runtimes.cluster.formats.raw import decode, row_bytes
from toolchain.cluster.config import ModelConfig
from toolchain.cluster.config_readers import from_huggingface
from toolchain.errors import ModelError

_MAX_HEADER = 100 << 20
_NAMES = {
    "attention_norm": "input_layernorm.weight",
    "feed_forward_norm": "post_attention_layernorm.weight",
    "q_norm": "self_attn.q_norm.weight",
    "k_norm": "self_attn.k_norm.weight",
    **{kind: f"self_attn.{kind}_proj.weight" for kind in "qkvo"},
    **{f"{kind}_bias": f"self_attn.{kind}_proj.bias" for kind in "qkv"},
    **{kind: f"mlp.{kind}_proj.weight" for kind in ("gate", "up", "down")},
}
# Models with norms on both sides of a block use other names for the same places.
_POST_NORM_NAMES = {
    "attention_post_norm": "post_attention_layernorm.weight",
    "feed_forward_norm": "pre_feedforward_layernorm.weight",
    "feed_forward_post_norm": "post_feedforward_layernorm.weight",
}
_GLOBAL = {
    "embedding": "model.embed_tokens.weight",
    "final_norm": "model.norm.weight",
    "classifier": "lm_head.weight",
}


@dataclass(frozen=True)
class _Tensor:
    """Where a tensor lies."""

    path: Path
    shape: tuple[int, ...]
    kind: str
    offset: int


class HuggingFaceModel:
    """A model folder as a `WeightSource`.

    Raises:
        ModelError: E221 not supported, E222 a file is damaged or cut short, E223 a tensor is
            missing.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder
        self.config = _config(folder / "config.json")
        self._norm_offset = np.float32(self.config.family.startswith("gemma"))
        self._shapes = tensor_shapes(self.config)
        self._tensors: dict[str, _Tensor] = {}
        for path in _weight_files(folder):
            self._tensors |= _read_header(path)

    def rows(self, name: str, start: int, stop: int) -> F32:
        """Read rows of a tensor; see `WeightSource.rows`."""
        tensor = self._tensor(name)
        shape = checked_rows(tensor.shape, name, start, stop)
        size = row_bytes(tensor.kind, math.prod(shape[1:]))
        with tensor.path.open("rb") as file:
            file.seek(tensor.offset + start * size)
            raw = read_exactly(file, (stop - start) * size, tensor.path)
        values = decode(np.frombuffer(raw, np.uint8), tensor.kind).reshape(shape)
        return values + self._norm_offset if name.endswith("norm") else values

    def close(self) -> None:
        """Nothing stays open between reads."""

    def _tensor(self, name: str) -> _Tensor:
        prefix, _, kind = name.rpartition(".")
        names = _NAMES | _POST_NORM_NAMES if self.config.post_norms else _NAMES
        if prefix:
            stored = f"model.{prefix}.{names.get(kind, '')}"
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


def _config(path: Path) -> ModelConfig:
    try:
        return from_huggingface(_json(path))
    except (AttributeError, TypeError, ValueError, ArithmeticError) as error:
        what = f"model config has values of a wrong type: {error}"
        raise ModelError("E220", what, where=str(path)) from error


def _weight_files(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return [folder / "model.safetensors"]
    names = _json(index).get("weight_map", {})
    files = sorted(set(names.values())) if isinstance(names, dict) else []
    for name in files:
        if not isinstance(name, str) or Path(name).name != name:
            raise ModelError("E222", f"unsafe file name {name!r:.60}", where=str(index))
    return [folder / name for name in files]


def _read_header(path: Path) -> dict[str, _Tensor]:
    try:
        with path.open("rb") as file:
            length = int.from_bytes(read_exactly(file, 8, path), "little")
            if length > _MAX_HEADER:
                raise ModelError("E222", f"a header of {length} bytes", where=str(path))
            entries: dict[str, Any] = json.loads(read_exactly(file, length, path))
        return {
            name: _entry(path, 8 + length, entry)
            for name, entry in entries.items()
            if name != "__metadata__"
        }
    except OSError as error:
        raise ModelError("E222", f"cannot be read: {error.strerror}", where=str(path)) from error
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        what = f"damaged safetensors file: {error!r:.80}"
        raise ModelError("E222", what, where=str(path)) from error


def _entry(path: Path, start: int, entry: dict[str, Any]) -> _Tensor:
    shape = tuple(int(size) for size in entry["shape"])
    begin, end = (int(offset) for offset in entry["data_offsets"])
    kind = str(entry["dtype"])
    if min(shape, default=0) < 0 or not 0 <= begin <= end:
        raise ModelError("E222", f"a tensor of shape {shape} at {begin}..{end}", where=str(path))
    return _Tensor(path, shape, kind, start + begin)


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_bytes())
    except OSError as error:
        raise ModelError("E222", f"cannot be read: {error.strerror}", where=str(path)) from error
    except (ValueError, RecursionError) as error:
        raise ModelError("E222", f"not JSON: {error}", where=str(path)) from error
    if not isinstance(values, dict):
        raise ModelError("E222", "not a JSON object", where=str(path))
    return values
