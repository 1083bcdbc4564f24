"""Single layers of the operators that are neither convolution, pool nor sum, large enough to time.

Every function takes a random generator and returns a graph of one node.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.ops.harness import inferred, single
from tests.ops.random_operands import ints
from tests.ops.random_state import updating
from tests.ops.recurrent import recurrent
from toolchain.ir import Array, DType, Graph, Quant, Tensor, constant
from toolchain.ops import (
    ArgMax,
    Assign,
    BatchMatMul,
    Concat,
    DepthwiseConv2D,
    Exp,
    Gather,
    LayerNorm,
    LeakyRelu,
    Logistic,
    LogSoftmax,
    Lstm,
    Maximum,
    Minimum,
    Op,
    Pad,
    Prelu,
    ReduceMax,
    ReduceMin,
    ResizeBilinear,
    ResizeNearest,
    Shift,
    Softmax,
    StridedSlice,
    Svdf,
    Tanh,
    Transpose,
    TransposeConv,
)
from toolchain.ops.spatial import Pads

Rng = np.random.Generator
Maker = Callable[[Rng], Graph]
_WIDE = Quant.per_tensor(2.0**-12)
_SHARES = {DType.INT8: Quant.per_tensor(2.0**-8, -128), DType.INT16: Quant.per_tensor(2.0**-15)}


def normalised(rng: Rng) -> Graph:
    """Draw a softmax or its logarithm, of int8 or float32, or a softmax to or of int16."""
    shape = (int(rng.integers(1, 24)), int(rng.integers(6, 80)))
    kind = int(rng.integers(6))
    if kind < 2:
        op: Op = (Softmax(), LogSoftmax())[kind]
        return _one(op, [_tensor("x", shape, DType.FLOAT32)], None, DType.FLOAT32)
    x = _tensor("x", shape, DType.INT16 if kind == 2 else DType.INT8)
    if kind == 2:
        return _one(Softmax(), [x], _SHARES[x.dtype], x.dtype)
    if kind == 3:
        return _one(LogSoftmax(), [x], Quant.per_tensor(2.0**-4, 127))
    if kind == 4:
        return _one(Softmax(), [x], Quant.per_tensor(2.0**-16, -(2**15)), DType.INT16)
    return _one(Softmax(), [x], _SHARES[x.dtype])


def norm(rng: Rng) -> Graph:
    """Draw a layer norm of int8 or int16."""
    depth, wide = int(rng.integers(8, 120)), rng.random() < 0.4
    x = _tensor("x", (int(rng.integers(2, 30)), depth), DType.INT16 if wide else DType.INT8)
    given = [
        constant(name, rng.normal(mean, 0.5, depth).astype(np.float32))
        for name, mean in (("gain", 1), ("offset", 0))
    ]
    y = Quant.per_tensor(2.0**-13) if wide else Quant.per_tensor(0.03, 3)
    return _one(LayerNorm(1e-5), [x, *given], y, x.dtype)


def function_16(rng: Rng) -> Graph:
    """Draw a function of int16 elements."""
    x = _tensor("x", (int(rng.integers(60, 2000)),), DType.INT16)
    unit = Quant.per_tensor(2.0**-15)
    drawn: tuple[tuple[Op, Quant], ...] = (
        (Logistic(), unit), (Tanh(), unit), (Exp(), _WIDE), (LeakyRelu(0.125), _WIDE)
    )  # fmt: skip
    op, quant = drawn[int(rng.integers(4))]
    return _one(op, [x], quant, x.dtype)


def extremum(rng: Rng) -> Graph:
    """Draw a minimum or maximum of two maps, or of a map and a value per channel."""
    shape = _map(rng)
    other = shape if rng.random() < 0.6 else (1, 1, 1, shape[3])
    op: Op = Minimum() if rng.random() < 0.5 else Maximum()
    a, b = _tensor("a", shape), _tensor("b", other)
    return _one(op, [a, b], a.quant)


def slopes(rng: Rng) -> Graph:
    """Draw a rectifier with a slope per channel, of int8 or int16."""
    x = _tensor("x", _map(rng), _either(rng))
    factors = rng.integers(-100, 100, (1, 1, 1, x.shape[3])).astype(x.dtype.numpy)
    return _one(Prelu(), [x, _scaled("b", factors, 0.01)], x.quant, x.dtype)


def reduced(rng: Rng) -> Graph:
    """Draw the greatest or least element of channels, of rows, or of a whole map."""
    x = _tensor("x", _map(rng), _either(rng))
    axes = ((1,), (3,), (1, 2))[int(rng.integers(3))]
    op: Op = ReduceMax(axes) if rng.random() < 0.5 else ReduceMin(axes)
    return _one(op, [x], x.quant, x.dtype)


def gathered(rng: Rng) -> Graph:
    """Draw slices of a map along an axis, in any order."""
    x = _tensor("x", _map(rng), _either(rng))
    axis = int(rng.integers(1, 4))
    places = rng.integers(0, x.shape[axis], int(rng.integers(4, 20))).tolist()
    return _one(Gather(axis, tuple(places)), [x], x.quant, x.dtype)


def arg_max(rng: Rng) -> Graph:
    """Draw an arg max along the channels or the rows of a map."""
    x = _tensor("x", _map(rng))
    return _one(ArgMax(int(rng.choice([1, 3]))), [x], None, DType.INT32)


def resized(rng: Rng) -> Graph:
    """Draw a resize, nearest or bilinear, the latter in float as well."""
    x = _tensor("x", _map(rng, (1, 2, 3, 8, 16, 24, 40)))
    size = (int(rng.integers(1, 3)) * x.shape[1], int(rng.integers(1, 4)) * x.shape[2])
    drawn = ResizeNearest(size), ResizeBilinear(size), ResizeBilinear(size, in_float=True)
    return _one(drawn[int(rng.integers(3))], [x], x.quant)


def moved(rng: Rng) -> Graph:
    """Draw a layer that only moves elements."""
    x = _tensor("x", _map(rng, (1, 3, 4, 8, 16, 24, 40)), _either(rng))
    _, height, width, channels = x.shape
    z = _tensor("z", (1, height, width, int(rng.integers(2, 30))), x.dtype)
    ends = (1, height - 1, width, channels)
    drawn: tuple[tuple[Op, list[Tensor]], ...] = (
        (Pad((0, 1, 1, 0), (0, 1, 2, 0)), [x]),
        (Transpose((0, 3, 1, 2)), [x]),
        (Transpose((0, 2, 1, 3)), [x]),
        (Concat(3), [x, z]),
        (StridedSlice((0, 1, 0, 0), ends, (1, 1, 2, 1), ()), [x]),
    )
    op, given = drawn[int(rng.integers(len(drawn)))]
    return _one(op, given, x.quant, x.dtype)


def delayed(rng: Rng) -> Graph:
    """Draw a state that takes a value, or a delay line that takes rows."""
    rows, width = int(rng.integers(4, 40)), int(rng.integers(40, 160))
    state, new = _tensor("state", (1, rows, width)), int(rng.integers(1, rows))
    if rng.random() < 0.3:
        return updating(rng, Assign(), state, _tensor("x", state.shape))
    return updating(rng, Shift(), state, _tensor("x", (1, new, width)))


def transpose_conv(rng: Rng) -> Graph:
    """Draw a transposed convolution of int8 or int16."""
    kernel, stride = int(rng.choice([2, 3, 4])), int(rng.choice([1, 2, 2]))
    x = _tensor("x", (1, *ints(rng, 3, 9, 2), int(rng.choice([3, 8, 16, 24]))), _either(rng))
    pads = Pads(*(int(rng.integers(0, 2)),) * 4)
    filters = (int(rng.choice([1, 4, 8, 12])), kernel, kernel, x.shape[3])
    op = TransposeConv((stride, stride), pads)
    return _one(
        op, [x, _weights(rng, "w", filters, 0), _bias(rng, x, filters[0])], x.quant, x.dtype
    )


def dilated(rng: Rng) -> Graph:
    """Draw a depthwise convolution whose taps lie apart, or of one column."""
    height, width, channels = (*ints(rng, 9, 19, 2), 4 * int(rng.integers(1, 8)))
    if rng.random() < 0.5:
        kernel, op = (3, 3), DepthwiseConv2D((1, 1), (2, 2), Pads(2, 2, 2, 2))
    else:
        kernel, op, width = (int(rng.integers(2, 6)), 1), DepthwiseConv2D(), 1
    x = _tensor("x", (1, height, width, channels))
    weights = _weights(rng, "w", (1, *kernel, x.shape[3]), 3)
    return _one(op, [x, weights, _bias(rng, x, x.shape[3])], x.quant)


def product(rng: Rng) -> Graph:
    """Draw a product of two matrices of int8 or int16."""
    op = BatchMatMul(False, bool(rng.integers(2)))
    rows, depth, columns = ints(rng, 4, 30, 3)
    right, kind = ((columns, depth) if op.transpose_b else (depth, columns)), _either(rng)
    a, b = _tensor("a", (2, rows, depth), kind), _tensor("b", (2, *right), kind)
    return _one(op, [a, b], Quant.per_tensor(a.scale * b.scale * 50), kind)


def lstm(rng: Rng) -> Graph:
    """Draw a layer of LSTM cells of int8 or int16."""
    kind, units, inputs = _either(rng), int(rng.choice([4, 6, 8, 16, 20])), int(rng.integers(4, 40))
    wide = kind is DType.INT16
    x = _tensor("x", (1, int(rng.integers(1, 8)), inputs), kind)
    hidden = Tensor("hidden", (1, units), kind, Quant.per_tensor(2.0**-15 if wide else 2.0**-7))
    cell = Tensor("cell", (1, units), DType.INT16, Quant.per_tensor(2.0**-11))
    sums = np.int64 if wide else np.int32

    def weights(name: str, columns: int) -> Tensor:
        data = rng.integers(-127, 128, (units, columns), dtype=np.int8)
        return constant(name, data, Quant.per_tensor(0.01))

    operands = [
        x,
        *(weights(f"w{gate}", inputs) for gate in range(4)),
        *(weights(f"r{gate}", units) for gate in range(4)),
        *(constant(f"b{g}", rng.integers(-9000, 9000, units).astype(sums)) for g in range(4)),
        hidden,
        cell,
    ]
    y = Tensor("y", (1, x.shape[1], units), kind, hidden.quant)
    return recurrent(Lstm(False, 0.0), operands, y, [hidden, cell])


def svdf(rng: Rng) -> Graph:
    """Draw an SVDF layer whose state has 8 or 16 bits."""
    units, inputs, memory = ints(rng, 4, 24, 3)
    rank, kind = int(rng.integers(1, 3)), _either(rng)
    filters, fine = rank * units, 256.0 if kind is DType.INT16 else 1.0
    x, y = _tensor("x", (1, inputs)), _tensor("y", (1, units))
    time = rng.integers(-127, 128, (filters, memory)).astype(kind.numpy)
    slope, scale = 0.01 / fine, 0.1 / fine
    state = Tensor("state", (1, filters * memory), kind, Quant.per_tensor(scale))
    given = [
        x,
        _scaled("features", rng.integers(-127, 128, (filters, inputs), dtype=np.int8), 0.005),
        _scaled("time", time, slope),
        _scaled("bias", rng.integers(-2000, 2000, units, dtype=np.int32), scale * slope),
        state,
    ]
    return recurrent(Svdf(rank), given, y, [state])


OTHERS: tuple[Maker, ...] = (
    normalised, norm, function_16, extremum, arg_max, resized, moved, delayed, transpose_conv,
    dilated, product, lstm, svdf,
)  # fmt: skip
CORTEX_M4_ALONE: tuple[Maker, ...] = (slopes, reduced, gathered)  # without prices elsewhere


def _one(op: Op, given: list[Tensor], quant: Quant | None, dtype: DType = DType.INT8) -> Graph:
    return single(op, given, [inferred(op, given, Tensor("y", (), dtype, quant))])


def _tensor(name: str, shape: tuple[int, ...], dtype: DType = DType.INT8) -> Tensor:
    quants = {DType.INT8: Quant.per_tensor(0.05, 3), DType.INT16: _WIDE}
    return Tensor(name, shape, dtype, quants.get(dtype))


def _map(rng: Rng, channels: tuple[int, ...] = (3, 8, 16, 24, 40)) -> tuple[int, ...]:
    return (1, *ints(rng, 5, 14, 2), int(rng.choice(channels)))


def _either(rng: Rng) -> DType:
    return DType.INT16 if rng.random() < 0.3 else DType.INT8


def _weights(rng: Rng, name: str, shape: tuple[int, ...], axis: int) -> Tensor:
    scales = tuple(float(np.float32(s)) for s in rng.uniform(0.002, 0.01, shape[axis]))
    data = rng.integers(-127, 128, shape, dtype=np.int8)
    return constant(name, data, Quant(scales, (0,) * shape[axis], axis))


def _bias(rng: Rng, x: Tensor, channels: int) -> Tensor:
    kind = np.int64 if x.dtype is DType.INT16 else np.int32
    return constant("b", rng.integers(-3000, 3000, channels).astype(kind))


def _scaled(name: str, values: Array, scale: float) -> Tensor:
    return constant(name, values, Quant.per_tensor(scale))
