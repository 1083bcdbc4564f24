"""Post-training quantisation: a float graph and sample inputs become an integer graph."""

from toolchain.quantization.activations import uncalibrated
from toolchain.quantization.calibrate import METHODS, calibrate
from toolchain.quantization.integer import quantize_graph
from toolchain.quantization.preview import preview
from toolchain.quantization.quantizer import ROUNDINGS, prepare, quantize
from toolchain.quantization.report import LayerError, compare_layers
from toolchain.quantization.wide import quantize_wide

__all__ = [
    "METHODS",
    "ROUNDINGS",
    "LayerError",
    "calibrate",
    "compare_layers",
    "prepare",
    "preview",
    "quantize",
    "quantize_graph",
    "quantize_wide",
    "uncalibrated",
]
