"""Write a graph as a ``.tflite`` file that TFLite runtimes execute to the same bytes."""

from __future__ import annotations

from collections.abc import Mapping

from toolchain.exporters import tflite_math, tflite_moves, tflite_spatial
from toolchain.exporters.tflite_layer import Draft, Layer, Writer
from toolchain.exporters.tflite_math import plain
from toolchain.exporters.tflite_writer import write
from toolchain.ir import Graph

WRITERS: Mapping[str, Writer] = {
    "add": tflite_math.add,
    "arg_max": tflite_math.arg_max,
    "average_pool2d": tflite_spatial.average_pool2d,
    "concat": tflite_moves.concat,
    "conv2d": tflite_spatial.conv2d,
    "depthwise_conv2d": tflite_spatial.depthwise_conv2d,
    "dequantize": plain("DEQUANTIZE", 2, "DequantizeOptions"),
    "fully_connected": tflite_spatial.fully_connected,
    "hard_swish": plain("HARD_SWISH", 1, "HardSwishOptions"),
    "leaky_relu": tflite_math.leaky_relu,
    "log_softmax": plain("LOG_SOFTMAX", 2, "LogSoftmaxOptions"),
    "logistic": plain("LOGISTIC", 2),
    "max_pool2d": tflite_spatial.max_pool2d,
    "maximum": plain("MAXIMUM", 2, "MaximumMinimumOptions"),
    "mean": tflite_moves.mean,
    "minimum": plain("MINIMUM", 2, "MaximumMinimumOptions"),
    "mul": tflite_math.mul,
    "pack": tflite_moves.pack,
    "pad": tflite_moves.pad,
    "quantize": plain("QUANTIZE", 2, "QuantizeOptions"),
    "relu": tflite_math.relu,
    "reshape": tflite_moves.reshape,
    "resize_bilinear": tflite_moves.resize_bilinear,
    "resize_nearest": tflite_moves.resize_nearest,
    "softmax": tflite_math.softmax,
    "split": tflite_moves.split,
    "strided_slice": tflite_moves.strided_slice,
    "sub": tflite_math.sub,
    "tanh": plain("TANH", 2),
    "transpose": tflite_moves.transpose,
    "transpose_conv": tflite_spatial.transpose_conv,
    "unpack": tflite_moves.unpack,
}


def export_tflite(graph: Graph) -> bytes:
    """Return ``graph`` as a ``.tflite`` file.

    Explicit padding that is neither "same" nor "valid" becomes a PAD node. Biases without
    quantisation are given the scale ``s_x * s_w`` that runtimes demand.

    Args:
        graph: a verified graph.

    Raises:
        ModelError: E211 if a node means something that the format cannot express.
    """
    draft = Draft(graph)
    for node in graph.nodes:
        layer = Layer(node, graph.operands(node), draft)
        write_record = WRITERS.get(node.op.name)
        if write_record is None:
            raise layer.refuse("no such operator in the format")
        draft.records.append(write_record(layer))
    used = {*graph.inputs, *graph.outputs}
    for record in draft.records:
        used.update(name for name in (*record.inputs, *record.outputs) if name is not None)
    kept = [tensor for name, tensor in draft.tensors.items() if name in used]
    return write(kept, draft.records, graph.inputs, graph.outputs)
