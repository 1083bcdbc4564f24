"""Post-training quantisation: a float graph and sample inputs become an integer graph."""

from toolchain.quantization.activations import uncalibrated
from toolchain.quantization.calibrate import METHODS, calibrate
from toolchain.quantization.integer import quantize_graph
from toolchain.quantization.mixed import Mixed, quantize_mixed
from toolchain.quantization.preview import preview
from toolchain.quantization.quantizer import (
    ACTIVATIONS,
    ROUNDINGS,
    prepare,
    quantize,
    quantize_ready,
)
from toolchain.quantization.report import LayerError, compare_layers
from toolchain.quantization.wide import Ready

__all__ = [
    "ACTIVATIONS",
    "METHODS",
    "ROUNDINGS",
    "LayerError",
    "Mixed",
    "Ready",
    "calibrate",
    "compare_layers",
    "prepare",
    "preview",
    "quantize",
    "quantize_graph",
    "quantize_mixed",
    "quantize_ready",
    "uncalibrated",
]
