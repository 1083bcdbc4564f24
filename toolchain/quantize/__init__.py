"""Post-training quantisation: a float graph and sample inputs become an int8 graph."""

from toolchain.quantize.activations import uncalibrated
from toolchain.quantize.calibrate import METHODS, calibrate
from toolchain.quantize.integer import quantize_graph
from toolchain.quantize.preview import preview
from toolchain.quantize.quantizer import quantize
from toolchain.quantize.report import LayerError, compare_layers

__all__ = [
    "METHODS",
    "LayerError",
    "calibrate",
    "compare_layers",
    "preview",
    "quantize",
    "quantize_graph",
    "uncalibrated",
]
