"""llama2.c checkpoints (version 0): seven int32 and the float32 weights, tensor kind by kind.

Format: the ``export.py`` and ``run.c`` of karpathy/llama2.c. Header: dim, ffn, layers, heads,
key/value heads, vocabulary (negative: untied classifier), context. Rotated pairs are interleaved.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from runtimes.cluster.arrays import F32
from runtimes.cluster.formats.base import checked_rows, layer_shapes, tensor_shapes
from toolchain.cluster.config import ModelConfig
from toolchain.errors import ModelError

# Order of the tensor kinds in the file; each kind holds all layers in turn.
_ORDER = ("attention_norm", "q", "k", "v", "o", "feed_forward_norm", "gate", "down", "up")


class Llama2cModel:
    """A llama2.c ``.bin`` file as a `WeightSource`.

    Raises:
        ModelError: E222, the file's length does not fit its header; E220, a hostile header.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        header = _read(path, 0, 7).view("<i4")
        dim, ffn, layers, heads, kv_heads, vocab, context = (int(value) for value in header)
        self.config = ModelConfig(
            family="llama",
            hidden=dim,
            ffn=ffn,
            layers=layers,
            heads=heads,
            kv_heads=kv_heads,
            head_dim=_head_dim(path, dim, heads),
            vocab=abs(vocab),
            context=context,
            rope_style="interleaved",
            tied=vocab > 0,
            bos=1,
            eos=(1, 2),  # generation stops at either, as run.c does
        )
        self._shapes = tensor_shapes(self.config)
        self._offsets = self._layout()

    def rows(self, name: str, start: int, stop: int) -> F32:
        """Read rows of a tensor; see `WeightSource.rows`."""
        if name not in self._offsets:
            raise ModelError("E223", f"no tensor {name}", where=str(self._path))
        shape = checked_rows(self._shapes[name], name, start, stop)
        row = math.prod(shape[1:])
        values = _read(self._path, self._offsets[name] + 4 * start * row, (stop - start) * row)
        return values.reshape(shape)

    def close(self) -> None:
        """Nothing stays open between reads."""

    def _layout(self) -> dict[str, int]:
        config, shapes, offset = self.config, layer_shapes(self.config), 4 * 7
        offsets = {"embedding": offset}
        offset += 4 * config.vocab * config.hidden
        for kind in _ORDER:
            for layer in range(config.layers):
                offsets[f"layers.{layer}.{kind}"] = offset
                offset += 4 * math.prod(shapes[kind])
        offsets["final_norm"] = offset
        offset += 4 * config.hidden
        offset += 4 * config.context * config.head_dim  # rotation tables of old versions
        offsets["classifier"] = offsets["embedding"] if config.tied else offset
        end = offset if config.tied else offset + 4 * config.vocab * config.hidden
        size = self._path.stat().st_size
        if size != end:
            raise ModelError(
                "E222",
                f"its header promises {end} bytes, the file has {size}",
                where=str(self._path),
                numbers={"expected": end, "actual": size},
                hints=["download the model again; other llama2.c versions are not supported"],
            )
        return offsets


def _head_dim(path: Path, dim: int, heads: int) -> int:
    if heads <= 0 or dim <= 0 or dim % heads:
        raise ModelError("E201", "not a llama2.c model: odd header", where=str(path))
    return dim // heads


def _read(path: Path, offset: int, count: int) -> F32:
    """Read ``count`` little-endian float32 values at a byte offset."""
    values = np.fromfile(path, "<f4", count, offset=offset)
    if values.size != count:
        raise ModelError("E222", f"the file ends before byte {offset + 4 * count}", where=str(path))
    return values
