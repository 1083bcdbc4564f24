"""Elementwise operators and activations against TFLite Micro's reference kernels."""

from __future__ import annotations

import platform
from collections.abc import Callable

import numpy as np
import pytest

from tests.ops.harness import single
from tests.ops.random_unary import random_shape, random_unary
from tests.ops.test_add import random_add
from tests.ops.test_arg_max import random_arg_max
from tests.ops.test_dequantize import random_dequantize
from tests.ops.test_hard_swish import random_hard_swish
from tests.ops.test_leaky_relu import random_leaky_relu
from tests.ops.test_log_softmax import log_softmax_of_floats, random_log_softmax
from tests.ops.test_logistic import random_logistic
from tests.ops.test_maximum import random_maximum
from tests.ops.test_minimum import random_minimum
from tests.ops.test_mul import random_mul
from tests.ops.test_quantize import random_quantize
from tests.ops.test_softmax import random_softmax, softmax_of_floats
from tests.ops.test_squared_difference import (
    random_squared_difference,
    random_squared_difference_16,
)
from tests.ops.test_sub import random_sub
from tests.ops.test_tanh import random_tanh
from tests.oracle.micro import assert_reference_equals_micro
from toolchain.ir import DType, Graph, Quant, Tensor
from toolchain.numerics import Activation
from toolchain.ops import Relu


def random_relu(rng: np.random.Generator) -> Graph:
    return random_unary(rng, Relu())


def random_relu6(rng: np.random.Generator) -> Graph:
    """TFLite Micro's RELU6 knows only one scale, and refuses a 6 that is out of range."""
    scale = rng.uniform(0.05, 0.5)
    quant = Quant.per_tensor(scale, int(rng.integers(-128, 126 - round(6 / scale))))
    shape = random_shape(rng)
    x, y = (Tensor(name, shape, DType.INT8, quant) for name in "xy")
    return single(Relu(Activation.RELU6), [x], [y])


def known_to_micro(graph: Graph) -> bool:
    """Tell whether TFLite Micro knows the types: no uint8 to float32, no int64 indices."""
    (x,), (y,) = graph.input_tensors[:1], graph.output_tensors
    floats_of_uint8 = x.dtype is DType.UINT8 and y.dtype is DType.FLOAT32
    return not floats_of_uint8 and y.dtype is not DType.INT64


MAKERS = [
    random_add,
    random_arg_max,
    random_dequantize,
    random_hard_swish,
    random_leaky_relu,
    random_log_softmax,
    random_logistic,
    random_maximum,
    random_minimum,
    random_mul,
    random_quantize,
    random_relu,
    random_relu6,
    random_softmax,
    random_squared_difference,
    random_squared_difference_16,
    random_sub,
    random_tanh,
]


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__.removeprefix("random_"))
def test_equals_tflite_micro(make: Callable[[np.random.Generator], Graph]) -> None:
    assert_reference_equals_micro(make, known_to_micro)


@pytest.mark.skipif(
    platform.libc_ver() > ("glibc", "2.40"), reason="its expf and logf are other routines"
)
@pytest.mark.parametrize("make", [softmax_of_floats, log_softmax_of_floats])
def test_floats_equal_tflite_micro(make: Callable[[np.random.Generator], Graph]) -> None:
    assert_reference_equals_micro(make)
