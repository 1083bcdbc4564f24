"""Write a graph as a ``.tflite`` file that TFLite runtimes execute to the same bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from toolchain.exporters import (
    tflite_math,
    tflite_moves,
    tflite_recurrent,
    tflite_spatial,
    tflite_states,
)
from toolchain.exporters.tflite_layer import Draft, Layer, Writer
from toolchain.exporters.tflite_math import plain
from toolchain.exporters.tflite_writer import Handle, Subgraph, write
from toolchain.importers.tflite_types import ERF, LAYER_NORM, function_name
from toolchain.ir import Graph, Tensor
from toolchain.ops import (
    Abs,
    Add,
    ArgMax,
    Assign,
    AveragePool2D,
    BatchMatMul,
    Concat,
    Conv2D,
    DepthwiseConv2D,
    Dequantize,
    Elu,
    Erf,
    Exp,
    FullyConnected,
    Function,
    Gather,
    Gelu,
    HardSwish,
    LayerNorm,
    LeakyRelu,
    Log,
    Logistic,
    LogSoftmax,
    Lstm,
    Maximum,
    MaxPool2D,
    Mean,
    Minimum,
    Mul,
    Op,
    Pack,
    Pad,
    Prelu,
    Quantize,
    ReduceMax,
    ReduceMin,
    Relu,
    Reshape,
    ResizeBilinear,
    ResizeNearest,
    Rsqrt,
    Shift,
    Softmax,
    Split,
    Sqrt,
    SquaredDifference,
    StridedSlice,
    Sub,
    Svdf,
    Tanh,
    Transpose,
    TransposeConv,
    Unpack,
)

WRITERS: Mapping[type[Op], Writer] = {
    Abs: plain("ABS", 2),
    Add: tflite_math.add,
    ArgMax: tflite_math.arg_max,
    Assign: tflite_states.assign,
    AveragePool2D: tflite_spatial.average_pool2d,
    BatchMatMul: tflite_math.batch_matmul,
    Concat: tflite_moves.concat,
    Conv2D: tflite_spatial.conv2d,
    DepthwiseConv2D: tflite_spatial.depthwise_conv2d,
    Dequantize: plain("DEQUANTIZE", 2, "DequantizeOptions"),
    Elu: plain("ELU", 1),
    Erf: plain(ERF, 1),
    Exp: plain("EXP", 2, "ExpOptions"),
    FullyConnected: tflite_spatial.fully_connected,
    Function: tflite_math.function,
    Gather: tflite_moves.gather,
    Gelu: tflite_math.gelu,
    HardSwish: plain("HARD_SWISH", 1, "HardSwishOptions"),
    LayerNorm: tflite_math.layer_norm,
    LeakyRelu: tflite_math.leaky_relu,
    Log: plain("LOG", 2),
    LogSoftmax: plain("LOG_SOFTMAX", 2, "LogSoftmaxOptions"),
    Logistic: plain("LOGISTIC", 2),
    Lstm: tflite_recurrent.lstm,
    MaxPool2D: tflite_spatial.max_pool2d,
    Maximum: plain("MAXIMUM", 2, "MaximumMinimumOptions"),
    Mean: tflite_moves.mean,
    Minimum: plain("MINIMUM", 2, "MaximumMinimumOptions"),
    Mul: tflite_math.mul,
    Pack: tflite_moves.pack,
    Pad: tflite_moves.pad,
    Prelu: plain("PRELU", 1),
    Quantize: plain("QUANTIZE", 2, "QuantizeOptions"),
    ReduceMax: tflite_moves.reduce_max,
    ReduceMin: tflite_moves.reduce_min,
    Relu: tflite_math.relu,
    Reshape: tflite_moves.reshape,
    ResizeBilinear: tflite_moves.resize_bilinear,
    ResizeNearest: tflite_moves.resize_nearest,
    Rsqrt: plain("RSQRT", 2),
    Shift: tflite_states.shift,
    Softmax: tflite_math.softmax,
    Split: tflite_moves.split,
    Sqrt: plain("SQRT", 1),
    SquaredDifference: plain("SQUARED_DIFFERENCE", 2),
    StridedSlice: tflite_moves.strided_slice,
    Sub: tflite_math.sub,
    Svdf: tflite_recurrent.svdf,
    Tanh: plain("TANH", 2),
    Transpose: tflite_moves.transpose,
    TransposeConv: tflite_spatial.transpose_conv,
    Unpack: tflite_moves.unpack,
}


def custom_operators(graph: Graph) -> Mapping[str, int]:
    """Return how often each operator occurs that no other runtime will know in the file."""
    names = (_custom_name(node.op) for node in graph.nodes)
    return Counter(name for name in names if name is not None)


def _custom_name(op: Op) -> str | None:
    """Return the name under which an operator is written that the format lacks."""
    if isinstance(op, Function):
        return function_name(op.kind)
    return {Erf: ERF, LayerNorm: LAYER_NORM}.get(type(op))


def export_tflite(graph: Graph) -> bytes:
    """Return ``graph`` as a ``.tflite`` file.

    Explicit padding that is neither "same" nor "valid" becomes a PAD node. Biases without
    quantisation are given the scale ``s_x * s_w`` that runtimes demand. States become resource
    variables. What the format has no operator for is a custom one (`CUSTOM_PREFIX`).

    Args:
        graph: a verified graph.

    Raises:
        ModelError: E211 if a node means something that the format cannot express.
    """
    graph = tflite_states.spell_out_delay_lines(graph)
    draft = Draft(graph)
    tflite_states.declare_states(draft, graph)
    for node in graph.nodes:
        layer = Layer(node, graph.operands(node), draft)
        write_record = WRITERS.get(type(node.op))
        if write_record is None:
            raise layer.refuse("no such operator in the format")
        draft.records.append(write_record(layer))
    used = {*graph.inputs, *graph.outputs}
    for record in draft.records:
        used.update(name for name in (*record.inputs, *record.outputs) if name is not None)
    kept = [tensor for name, tensor in draft.tensors.items() if name in used]
    tensors: list[Tensor | Handle] = [*kept, *draft.handles.values()]
    variables = tflite_recurrent.variables(graph)
    main = Subgraph("main", tensors, draft.records, graph.inputs, graph.outputs, variables)
    return write([main, *tflite_states.initialisation(graph)])
