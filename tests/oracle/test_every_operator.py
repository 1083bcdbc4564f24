"""No operator without an independent oracle: the table of where each one meets it."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from tests.formats.test_onnx_every import ELSEWHERE as ONNX_ELSEWHERE
from tests.formats.test_onnx_every import GENERATORS
from tests.ops.recurrent import assert_sequences_equal_micro
from tests.ops.test_assign import random_assign
from tests.ops.test_shift import random_shift
from tests.oracle.test_random import OPERATORS
from tests.test_house import operators
from toolchain.importers.onnx import READERS
from toolchain.ir import DType, Graph
from toolchain.ops import Op

# Integer operators whose random cases meet a runtime in a test of their own; all others do in
# `tests.oracle.test_random`. TFLite Micro has no kernel for those that are held against LiteRT,
# and no TFLite runtime has one for those that are held against onnxruntime.
INTEGERS = {
    "assign": "tests.oracle.test_every_operator:test_states_equal_tflite_micro",
    "average_pool2d": "tests.oracle.test_spatial:test_average_pool2d",
    "dequantize": "tests.oracle.test_elementwise:test_equals_tflite_micro",
    "elu": "tests.oracle.test_lookup:test_elu_equals_tflite_micro",
    "erf": "tests.oracle.test_real_functions:test_error_function",
    "exp": "tests.oracle.test_lookup:test_equals_tflite_but_for_ties",
    "function": "tests.oracle.test_real_functions:test_functions_by_name",
    "gelu": "tests.oracle.test_lookup:test_equals_tflite_but_for_ties",
    "layer_norm": "tests.oracle.test_real_functions:test_layer_normalisation",
    "log": "tests.oracle.test_lookup:test_equals_tflite_but_for_ties",
    "lstm": "tests.ops.test_lstm:test_sequences_equal_tflite_micro",
    "max_pool2d": "tests.oracle.test_spatial:test_max_pool2d",
    "quantize": "tests.oracle.test_elementwise:test_equals_tflite_micro",
    "rsqrt": "tests.oracle.test_lookup:test_roots_of_positive_numbers_are_within_a_step",
    "shift": "tests.oracle.test_every_operator:test_states_equal_tflite_micro",
    "sqrt": "tests.oracle.test_lookup:test_roots_of_positive_numbers_are_within_a_step",
    "squared_difference": "tests.oracle.test_elementwise:test_equals_tflite_micro",
    "svdf": "tests.ops.test_svdf:test_sequences_equal_tflite_micro",
}
# Operators of ONNX whose random cases meet onnxruntime in a test of their own.
REALS = {
    "GRU": "tests.formats.test_onnx_recurrent:test_layers_equal_onnxruntime",
    "LSTM": "tests.formats.test_onnx_recurrent:test_layers_equal_onnxruntime",
}


def is_test(place: str) -> bool:
    """Tell whether ``module:function`` is a test."""
    module, name = place.split(":")
    return name.startswith("test_") and callable(
        getattr(importlib.import_module(module), name, None)
    )


@pytest.mark.parametrize("op", operators(), ids=lambda op: op.name)
def test_every_integer_operator_meets_an_independent_runtime(op: type[Op]) -> None:
    assert (op.name in OPERATORS) != (op.name in INTEGERS)
    assert op.name in OPERATORS or is_test(INTEGERS[op.name])


@pytest.mark.parametrize("kind", READERS)
def test_every_onnx_operator_meets_onnxruntime(kind: str) -> None:
    assert (kind in GENERATORS) != (kind in REALS)
    assert kind in GENERATORS or is_test(REALS[kind])
    assert REALS.keys() == ONNX_ELSEWHERE


def of_int8(make: object, rng: np.random.Generator) -> Graph:
    """Return a random graph of int8; variables of other types are not TFLite Micro's."""
    assert callable(make)
    while True:
        graph: Graph = make(rng)
        if graph.output_tensors[0].dtype is DType.INT8:
            return graph


@pytest.mark.parametrize("make", [random_assign, random_shift])
def test_states_equal_tflite_micro(make: object) -> None:
    assert_sequences_equal_micro(lambda rng: of_int8(make, rng), range(60))
