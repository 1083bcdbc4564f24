"""Tensors of a ``.tflite`` file: shapes, types, quantisation, data."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from toolchain.errors import ModelError
from toolchain.importers.flatbuffer import corrupt
from toolchain.importers.tflite_file import integers, text
from toolchain.importers.tflite_legacy import signed
from toolchain.importers.tflite_types import DTYPES
from toolchain.ir import Array, DType, Quant, Tensor

_MAX_RANK = 8
_MAX_ELEMENTS = 2**31 - 1
# Several tensors may share a buffer, yet not so often that it only serves to blow up the reader.
_MAX_SHARING = 8
_STORED = {"INT4": DType.INT4, "FLOAT16": DType.FLOAT32}  # constants only, held in a wider type
_QUANTISED = (DType.INT4, DType.INT8, DType.UINT8, DType.INT16, DType.INT32)
_LARGEST_SCALE = 1e18  # products and quotients of two stay finite in float32
_SMALLEST_SCALE = float(np.finfo(np.float32).tiny)


class Tensors:
    """The tensors of one subgraph, read when they are asked for.

    Attributes:
        oddities: what is odd in the file but does not keep it from being compiled.
        legacy: names of uint8 tensors, which become int8.
        variables: names of tensors that live on between inferences.
        open: axes of tensors, by name, whose size the file does not fix.
    """

    def __init__(self, model: Any, subgraph: Any, data: bytes) -> None:
        import tflite

        types = vars(tflite.TensorType).items()
        self._type_names = {number: name for name, number in types if isinstance(number, int)}
        self._model, self._subgraph, self._data = model, subgraph, data
        self._known: dict[int, Tensor] = {}
        self._names: set[str] = set()
        self.oddities: list[str] = []
        self.legacy: set[str] = set()
        self.variables: set[str] = set()
        self.open: dict[str, frozenset[int]] = {}
        self._budget = _MAX_SHARING * len(data)

    def __getitem__(self, index: int) -> Tensor:
        if index not in self._known:
            if not 0 <= index < self._subgraph.TensorsLength():
                raise corrupt(f"there is no tensor {index}")
            self._known[index] = self._read(index)
        return self._known[index]

    def share_half(self, index: int, copy: int) -> bool:
        """Let ``copy`` be the tensor ``index`` if that is a float16 constant, read as float32."""
        known = 0 <= index < self._subgraph.TensorsLength()
        if not known or self._type_names.get(self._subgraph.Tensors(index).Type()) != "FLOAT16":
            return False
        self._known[copy] = self[index]
        return True

    def name(self, index: int) -> str:
        """Return the name of a tensor for a message, whatever it is."""
        known = 0 <= index < self._subgraph.TensorsLength()
        return (known and text(self._subgraph.Tensors(index).Name())) or f"tensor_{index}"

    def signature(self, index: int) -> tuple[int, ...]:
        """Return a tensor's shape with -1 where it is not fixed, () if all is fixed."""
        if not 0 <= index < self._subgraph.TensorsLength():
            raise corrupt(f"there is no tensor {index}")
        raw = self._subgraph.Tensors(index)
        return integers(raw.ShapeSignatureAsNumpy()) if raw.ShapeSignatureLength() else ()

    def describe(self, index: int) -> str:
        """Return type and shape for a message, whatever they are."""
        if not 0 <= index < self._subgraph.TensorsLength():
            return "?"
        raw = self._subgraph.Tensors(index)
        shape = integers(raw.ShapeAsNumpy())[:_MAX_RANK]
        return f"{self._type_names.get(raw.Type(), '?').lower()}{list(shape)}"

    def _read(self, index: int) -> Tensor:
        raw = self._subgraph.Tensors(index)
        name = self.unique(text(raw.Name()) or f"tensor_{index}", index)
        where = f'tensor "{name}"'
        shape = _shape(raw, where)
        type_name = self._type_names.get(raw.Type(), f"number {raw.Type()}")
        dtype = _STORED.get(type_name) or DTYPES.get(type_name)
        if dtype is None:
            raise ModelError("E208", f"type {type_name} is not supported", where=where)
        if raw.Sparsity() is not None:
            raise ModelError("E208", "sparse storage is not supported", where=where)
        if raw.IsVariable():
            self.variables.add(name)
        signature = enumerate(self.signature(index))
        self.open[name] = frozenset(axis for axis, size in signature if size < 0)
        values = self._values(raw, shape, dtype, type_name, where)
        if values is None and type_name in _STORED:
            raise ModelError("E208", f"{type_name} activations are not supported", where=where)
        quant = self._quant(raw, shape, dtype, values is not None, where)
        tensor = Tensor(name, shape, dtype, quant, values)
        if dtype is DType.UINT8:
            self.legacy.add(name)
            return signed(tensor)
        return tensor

    def unique(self, name: str, index: int = 0) -> str:
        """Return ``name``, or a name like it if a tensor carries it already; it is then taken."""
        if name in self._names:
            name = f"{name}_{index}"
        while name in self._names:
            name += "_"
        self._names.add(name)
        return name

    def _values(
        self, raw: Any, shape: tuple[int, ...], dtype: DType, stored: str, where: str
    ) -> Array | None:
        """Return the data of a constant as a view into the file, ``None`` for an activation."""
        if not 0 <= raw.Buffer() < self._model.BuffersLength():
            raise corrupt(f"there is no buffer {raw.Buffer()}")
        buffer = self._model.Buffers(raw.Buffer())
        if buffer.Offset() > 1 or buffer.Size() > 1:
            raise ModelError("E208", "data outside the flatbuffer is not supported", where=where)
        if buffer.DataLength() == 0:
            return None
        data: Array = buffer.DataAsNumpy()
        size = math.prod(shape)
        expected = {"INT4": -(-size // 2), "FLOAT16": 2 * size}.get(stored, size * dtype.itemsize)
        if len(data) != expected:
            raise corrupt(f"{where} needs {expected} bytes of data, {len(data)} are there")
        self._budget -= size * dtype.itemsize
        if self._budget < 0:
            raise corrupt("its tensors hold far more data than the file")
        values = _unpacked(data, size, stored, dtype).reshape(shape)
        values.flags.writeable = False
        return values

    def _quant(
        self, raw: Any, shape: tuple[int, ...], dtype: DType, is_constant: bool, where: str
    ) -> Quant | None:
        found = raw.Quantization()
        if found is None or found.ScaleLength() == 0 or dtype not in _QUANTISED:
            return None
        count = found.ScaleLength()
        if count > 1 and not is_constant:
            raise ModelError("E206", "an activation is quantised per channel", where=where)
        axis = self._axis(found.QuantizedDimension(), count, shape, where) if count > 1 else None
        if found.ZeroPointLength() not in (0, count):
            raise corrupt(f"{where} has {count} scales and {found.ZeroPointLength()} zero points")
        points = integers(found.ZeroPointAsNumpy()) or (0,) * count
        low, high = dtype.limits
        if not all(low <= point <= high for point in points):
            raise corrupt(f"a zero point of {where} is no {dtype.value}")
        scales = tuple(float(scale) for scale in found.ScaleAsNumpy())
        return Quant(self._sane(scales, is_constant, where), points, axis)

    def _axis(self, axis: int, count: int, shape: tuple[int, ...], where: str) -> int:
        """Return the quantised dimension; one that the tensor does not have is put right."""
        if 0 <= axis < len(shape) and shape[axis] == count:
            return axis
        fitting = [index for index, size in enumerate(shape) if size == count]
        if len(fitting) != 1:
            raise corrupt(f"{where} {list(shape)} has {count} scales along dimension {axis}")
        self.oddities.append(f"{where}: quantised dimension {axis} read as {fitting[0]}")
        return fitting[0]

    def _sane(self, scales: tuple[float, ...], is_constant: bool, where: str) -> tuple[float, ...]:
        """Return scales that are positive and sane.

        A channel of weights that is all zero is at times given the scale 0. Its products vanish
        with any scale; the least one is taken, whose multiplier is flushed to zero.
        """
        low = 0.0 if is_constant else 1 / _LARGEST_SCALE
        if not all(low <= scale <= _LARGEST_SCALE for scale in scales):
            raise corrupt(f"a scale of {where} is {min(scales):g}")
        if 0.0 in scales:
            self.oddities.append(f"{where}: a scale is 0")
        return tuple(scale or _SMALLEST_SCALE for scale in scales)


def _shape(raw: Any, where: str) -> tuple[int, ...]:
    shape = integers(raw.ShapeAsNumpy()) if raw.ShapeLength() <= _MAX_RANK else (0,)
    if any(size <= 0 for size in shape) or math.prod(shape) > _MAX_ELEMENTS:
        raise ModelError(
            "E207",
            f"shape {list(shape)} is not fixed and sane"
            if raw.ShapeLength() <= _MAX_RANK
            else f"{raw.ShapeLength()} dimensions are too many",
            where=where,
        )
    return shape


def _unpacked(data: Array, size: int, stored: str, dtype: DType) -> Array:
    """Return values as the graph holds them."""
    if stored == "INT4":
        return _unpack_int4(data, size)
    return (
        data.view(np.float16).astype(np.float32) if stored == "FLOAT16" else data.view(dtype.numpy)
    )


def _unpack_int4(data: Array, size: int) -> Array:
    """Return int4 values, stored two a byte with the first in the low half, as int8."""
    halves = np.stack([data & 0xF, data >> 4], axis=-1).astype(np.int8).reshape(-1)[:size]
    return np.where(halves > 7, halves - 16, halves).astype(np.int8)
