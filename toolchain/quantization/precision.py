"""How many bits activations get, and what follows from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from toolchain.ir import DType, Quant
from toolchain.ops import Logistic, LogSoftmax, Softmax, Tanh
from toolchain.quantization.ranges import Range, centred_quant_of, quant_of


@dataclass(frozen=True, eq=False)
class Precision:
    """Types of a quantised graph; weights are int8 in all of them.

    Attributes:
        name: as users write it.
        activations: their type.
        bias: type of biases.
        largest_bias: greatest magnitude of a bias, which leaves room for the sum of products in 32
            bits, for which kernels are faster than for 64.
        migration: how much of the unevenness of channels moves from activations to the weights that
            read them, from 0 (weights are made even) to 1 (activations are).
        scale_tries: scales tried for the weights of an output. Beside int8 activations, which lose
            more than weights do, it is not worth the time.
        least_ratio: least output steps per step of a product. Weights of nearly dead filters get
            steps so large that this holds, which adds an eighth of an output step per product.
        quant_of: makes the quantisation of a range.
        fixed: what operators give whose integer kernels make one quantisation only.
    """

    name: str
    activations: DType
    bias: DType
    largest_bias: int
    migration: float
    scale_tries: int
    least_ratio: float
    quant_of: Callable[[Range], Quant]
    fixed: Mapping[type, Quant]


INT8 = Precision(
    "int8",
    DType.INT8,
    DType.INT32,
    2**30,
    0.5,
    1,
    0.0,
    quant_of,
    {
        Logistic: Quant.per_tensor(2.0**-8, -128),
        LogSoftmax: Quant.per_tensor(2.0**-4, 127),
        Softmax: Quant.per_tensor(2.0**-8, -128),
        Tanh: Quant.per_tensor(2.0**-7, 0),
    },
)
INT16 = Precision(
    "int16",
    DType.INT16,
    DType.INT64,
    2**30,
    0.0,
    129,
    2.0**-17,
    centred_quant_of,
    dict.fromkeys((Logistic, Softmax, Tanh), Quant.per_tensor(2.0**-15, 0)),
)
PRECISIONS: Mapping[str, Precision] = {one.name: one for one in (INT8, INT16)}
