"""Tensors: shape, element type, affine quantisation and, for constants, the data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class DType(Enum):
    """Element types; the value is the numpy name, but for INT4, which numpy holds as int8."""

    INT4 = "int4"  # weights only, two to a byte in files and in flash
    INT8 = "int8"
    INT16 = "int16"
    INT32 = "int32"
    INT64 = "int64"
    UINT8 = "uint8"
    BOOL = "bool"
    FLOAT32 = "float32"

    @property
    def numpy(self) -> np.dtype[Any]:
        """Return the numpy dtype."""
        return np.dtype("int8" if self is DType.INT4 else self.value)

    @property
    def itemsize(self) -> int:
        """Return bytes per element as numpy holds it."""
        return self.numpy.itemsize

    @property
    def limits(self) -> tuple[int, int]:
        """Return the least and greatest value of an integer type."""
        if self is DType.INT4:
            return -8, 7
        info = np.iinfo(self.numpy)
        return int(info.min), int(info.max)


@dataclass(frozen=True)
class Quant:
    """Affine quantisation, ``real = scale * (q - zero_point)``.

    Attributes:
        scales: one scale per tensor, or one per slice along ``axis`` (float32 values).
        zero_points: as many as ``scales``.
        axis: the quantised dimension of a per-channel tensor, else ``None``.
    """

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int | None = None

    @classmethod
    def per_tensor(cls, scale: float, zero_point: int = 0) -> Quant:
        """Return a quantisation with one scale, rounded to float32 as files store it."""
        return cls((float(np.float32(scale)),), (int(zero_point),))

    @property
    def scale(self) -> float:
        """Return the only scale of a per-tensor quantisation."""
        (scale,) = self.scales
        return scale

    @property
    def zero_point(self) -> int:
        """Return the only zero point of a per-tensor quantisation."""
        (zero_point,) = self.zero_points
        return zero_point


@dataclass(frozen=True, eq=False)
class Tensor:
    """A value that flows along an edge, or a constant.

    Attributes:
        name: unique in its graph.
        shape: all dimensions known and positive; layout NHWC for images; () for a scalar.
        dtype: element type.
        quant: affine quantisation of an integer tensor that stands for real values.
        data: the values of a constant (read-only), ``None`` for an activation.
    """

    name: str
    shape: tuple[int, ...]
    dtype: DType
    quant: Quant | None = None
    data: Array | None = None

    @property
    def size(self) -> int:
        """Return the number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Return the number of bytes."""
        if self.dtype is DType.INT4:
            return (self.size + 1) // 2
        return self.size * self.dtype.itemsize

    @property
    def is_constant(self) -> bool:
        """Tell whether the values are known at compile time."""
        return self.data is not None

    @property
    def scale(self) -> float:
        """Return the scale of a per-tensor quantised tensor."""
        return self._quant.scale

    @property
    def zero_point(self) -> int:
        """Return the zero point of a per-tensor quantised tensor."""
        return self._quant.zero_point

    @property
    def values(self) -> Array:
        """Return the data of a constant."""
        if self.data is None:
            raise ValueError(f"{self.name} is not a constant")
        return self.data

    @property
    def _quant(self) -> Quant:
        if self.quant is None:
            raise ValueError(f"{self.name} carries no quantisation")
        return self.quant


def constant(
    name: str, data: Array, quant: Quant | None = None, dtype: DType | None = None
) -> Tensor:
    """Return a constant with a read-only copy of ``data``, of its own type or ``dtype``."""
    values = np.array(data)
    values.flags.writeable = False
    return Tensor(name, values.shape, dtype or DType(values.dtype.name), quant, values)
