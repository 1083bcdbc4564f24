"""Which ATen operators are read, and how: one line per operator."""

from __future__ import annotations

from collections.abc import Mapping

from toolchain.importers import aten as calc
from toolchain.importers import aten_maps as maps
from toolchain.importers.aten import AtenNode, Reader, same
from toolchain.importers.aten_recurrent import recurrent
from toolchain.importers.onnx_builder import Value


def _hard_sigmoid(node: AtenNode) -> list[str]:
    return node.onnx("HardSigmoid", [node.x], alpha=1 / 6, beta=0.5)


def _leaky_relu(node: AtenNode) -> list[str]:
    return node.onnx("LeakyRelu", [node.x], alpha=node["negative_slope"])


def _relu6(node: AtenNode) -> list[str]:
    bounds: list[Value] = [calc.number(0.0), calc.number(6.0)]
    return node.onnx("Clip", [node.x, *bounds])


READERS: Mapping[str, Reader] = {
    "_adaptive_avg_pool2d": maps.adaptive_pool("AveragePool"),
    "_safe_softmax": calc.softmax("Softmax"),
    "_softmax": calc.softmax("Softmax"),
    "abs": same("Abs"),
    "_log_softmax": calc.softmax("LogSoftmax"),
    "_native_batch_norm_legit_no_training": calc.batch_norm,
    "_unsafe_view": calc.reshape,
    "adaptive_avg_pool1d": maps.adaptive_pool("AveragePool"),
    "adaptive_avg_pool2d": maps.adaptive_pool("AveragePool"),
    "adaptive_max_pool2d": maps.adaptive_pool("MaxPool"),
    "add": calc.binary("Add"),
    "addmm": calc.addmm,
    "alias": calc.identity,
    "argmax": calc.arg_max,
    "avg_pool1d": maps.pool("AveragePool"),
    "avg_pool2d": maps.pool("AveragePool"),
    "baddbmm": calc.batch_matmul,
    "batch_norm": calc.batch_norm,
    "bmm": calc.matmul,
    "cat": maps.concat,
    "chunk": maps.split,
    "clamp": calc.clamp,
    "clamp_max": calc.clamp,
    "clamp_min": calc.clamp,
    "clone": calc.identity,
    "constant_pad_nd": maps.pad,
    "contiguous": calc.identity,
    "conv1d": maps.convolution,
    "conv2d": maps.convolution,
    "conv_transpose1d": maps.convolution,
    "conv_transpose2d": maps.convolution,
    "convolution": maps.convolution,
    "detach": calc.identity,
    "div": calc.binary("Div"),
    "dropout": calc.identity,
    "elu": calc.elu,
    "erf": same("Erf"),
    "exp": same("Exp"),
    "expand": calc.expand,
    "flatten": calc.reshape,
    "gelu": calc.gelu,
    "group_norm": calc.group_norm,
    "gru": recurrent("GRU"),
    "hardsigmoid": _hard_sigmoid,
    "hardswish": same("HardSwish"),
    "hardtanh": calc.clamp,
    "instance_norm": calc.instance_norm,
    "layer_norm": calc.layer_norm,
    "leaky_relu": _leaky_relu,
    "linear": calc.linear,
    "log": same("Log"),
    "log_softmax": calc.softmax("LogSoftmax"),
    "lstm": recurrent("LSTM"),
    "masked_fill": calc.masked_fill,
    "matmul": calc.matmul,
    "max_pool1d": maps.pool("MaxPool"),
    "max_pool2d": maps.pool("MaxPool"),
    "maximum": calc.binary("Max"),
    "mean": calc.mean,
    "minimum": calc.binary("Min"),
    "mm": calc.matmul,
    "mul": calc.binary("Mul"),
    "neg": same("Neg"),
    "pad": maps.pad,
    "permute": maps.permute,
    "pow": calc.power,
    "prelu": calc.prelu,
    "relu": same("Relu"),
    "relu6": _relu6,
    "reshape": calc.reshape,
    "reciprocal": same("Reciprocal"),
    "rsqrt": calc.rsqrt,
    "rsub": calc.binary("Sub", reverse=True),
    "scaled_dot_product_attention": calc.attention,
    "select": maps.select,
    "sigmoid": same("Sigmoid"),
    "silu": calc.silu,
    "slice": maps.slice_,
    "softmax": calc.softmax("Softmax"),
    "split": maps.split,
    "split_with_sizes": maps.split,
    "sqrt": same("Sqrt"),
    "squeeze": calc.reshape,
    "stack": maps.stack,
    "sub": calc.binary("Sub"),
    "sum": calc.summed,
    "t": maps.permute,
    "tanh": same("Tanh"),
    "transpose": maps.permute,
    "unbind": maps.unbind,
    "unflatten": calc.reshape,
    "unsqueeze": calc.reshape,
    "upsample_bilinear2d": maps.resize("linear"),
    "upsample_nearest2d": maps.resize("nearest"),
    "var": calc.variance,
    "view": calc.reshape,
    "where": calc.where,
}
