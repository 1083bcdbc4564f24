"""Functions of int16 elements, which interpolate a table."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from tests.ops.harness import assert_c_equals_reference, single
from tests.ops.random_unary import random_shape
from tests.oracle.runtimes import Reference
from toolchain.exporters.tflite import export_tflite
from toolchain.ir import DType, Graph, Quant, Tensor, run
from toolchain.ops import Elu, Erf, Exp, Function, Gelu, Log, Rsqrt, Sqrt
from toolchain.ops.lookup import Lookup

OPERATORS: list[Lookup] = [
    Elu(),
    Erf(),
    Exp(),
    Function("mish"),
    Function("softplus", (1.5,)),
    Gelu(),
    Gelu(approximate=True),
    Log(),
    Rsqrt(),
    Sqrt(),
]
ALL = np.arange(-(2**15), 2**15, dtype=np.int16)


def of_16_bits(op: Lookup, shape: tuple[int, ...], x_scale: float, y_scale: float) -> Graph:
    x, y = (
        Tensor(name, shape, DType.INT16, Quant.per_tensor(scale))
        for name, scale in (("x", x_scale), ("y", y_scale))
    )
    return single(op, [x], [y])


def random_function(rng: np.random.Generator) -> Graph:
    op = OPERATORS[int(rng.integers(len(OPERATORS)))]
    x_scale, y_scale = np.exp2(rng.uniform(-16, -9, 2))
    return of_16_bits(op, random_shape(rng), float(x_scale), float(y_scale))


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(random_function, tmp_path)


@pytest.mark.parametrize("op", [Elu(), Erf(), Gelu(), Gelu(approximate=True)], ids=str)
def test_smooth_functions_are_within_three_steps(op: Lookup) -> None:
    x_scale, y_scale = 4 / 2**15, 4 / 2**15
    (got,) = run(of_16_bits(op, ALL.shape, x_scale, y_scale), [ALL])
    exact = op.real((ALL * np.float64(x_scale)).astype(np.float32)) / np.float64(y_scale)
    assert np.abs(got - exact).max() <= 3


def test_exponentials_equal_tflite_but_for_one_step() -> None:
    graph = of_16_bits(Exp(), ALL.shape, 2 / 2**15, math.e**2 / 2**15)
    (want,) = Reference(export_tflite(graph)).run([ALL], 1)
    assert np.abs(run(graph, [ALL])[0].astype(int) - want).max() <= 1
