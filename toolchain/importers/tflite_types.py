"""Names of the ``.tflite`` schema and what they are in the graph, for importer and exporter."""

from __future__ import annotations

from toolchain.ir import DType
from toolchain.numerics import Activation

# TensorType -> element type of the graph.
DTYPES: dict[str, DType] = {
    "FLOAT32": DType.FLOAT32,
    "INT4": DType.INT4,
    "INT8": DType.INT8,
    "UINT8": DType.UINT8,
    "INT16": DType.INT16,
    "INT32": DType.INT32,
    "INT64": DType.INT64,
    "BOOL": DType.BOOL,
}

# ActivationFunctionType -> fused activation.
ACTIVATIONS: dict[str, Activation] = {
    "NONE": Activation.NONE,
    "RELU": Activation.RELU,
    "RELU_N1_TO_1": Activation.RELU_N1_TO_1,
    "RELU6": Activation.RELU6,
}

# Operators that are one activation -> that activation.
STAND_ALONE: dict[str, Activation] = {
    "RELU": Activation.RELU,
    "RELU_N1_TO_1": Activation.RELU_N1_TO_1,
    "RELU6": Activation.RELU6,
}


# Custom operators of this toolchain: no runtime but ours knows them.
CUSTOM_PREFIX = "Tessera"
ERF = f"{CUSTOM_PREFIX}Erf"
LAYER_NORM = f"{CUSTOM_PREFIX}LayerNorm"


def function_name(kind: str) -> str:
    """Return the custom operator of a function, such as ``"TesseraLogSigmoid"``."""
    return CUSTOM_PREFIX + kind.title().replace("_", "")


class ModelWarning(UserWarning):
    """Something odd in a model file that does not keep it from being compiled."""


IDENTIFIER = b"TFL3"
SCHEMA_VERSION = 3
