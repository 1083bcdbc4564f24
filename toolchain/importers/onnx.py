"""Read an ONNX file into a float graph; every defect of the file ends in one `ModelError`.

Operators that are not supported are collected, all of them, with the reason. Activations that a
QDQ file quantises carry their quantisation in the graph.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.errors import ModelError
from toolchain.importers import onnx_attention as attention
from toolchain.importers import onnx_functions as functions
from toolchain.importers import onnx_math as calc
from toolchain.importers import onnx_moves as moves
from toolchain.importers import onnx_normalise as normalise
from toolchain.importers import onnx_recurrent as recurrent
from toolchain.importers import onnx_weighted as weighted
from toolchain.importers.onnx_builder import (
    Builder,
    OnnxNode,
    UnsupportedError,
    Value,
    refuse_all,
)
from toolchain.importers.onnx_constants import FOLDABLE, dequantized, fold
from toolchain.importers.onnx_einsum import einsum
from toolchain.importers.onnx_file import (
    NOTHING_KNOWN,
    Known,
    attributes,
    initialisers,
    input_shape,
    open_onnx,
    opset_of,
)
from toolchain.importers.onnx_qoperator import spelled_out
from toolchain.ir import Array, Graph
from toolchain.numerics import Activation
from toolchain.ops import (
    Add,
    AveragePool2D,
    Erf,
    Exp,
    HardSwish,
    Log,
    Logistic,
    LogSoftmax,
    Maximum,
    MaxPool2D,
    Mean,
    Minimum,
    ReduceMax,
    ReduceMin,
    Relu,
    Softmax,
    Sqrt,
    Sub,
    Tanh,
)
from toolchain.passes import simplify_float
from toolchain.reference import verify_float

_ENGINE = (  # for Linux boards and this machine
    "tessera compile MODEL --board host --engine onnxruntime --engine-for unsupported "
    "--data calib.npz"
)
_CONTROL = {"Loop", "Scan"}
_CONTRIBUTED = {"DequantizeLinear", "Gelu", "QuantizeLinear"}  # onnxruntime's, of the same meaning
_OWN = {"Constant", "If", "Size"}  # read here
_DEFECTS = (ValueError, TypeError, KeyError, IndexError, OverflowError, RuntimeError)

READERS: Mapping[str, Callable[[OnnxNode], list[str]]] = {
    "Abs": functions.absolute,
    "Add": calc.commutative(Add()),
    "ArgMax": functions.arg_max,
    "ArgMin": functions.arg_max,
    "Atan": functions.named("arc_tangent"),
    "Attention": attention.attention,
    "AveragePool": weighted.pool(AveragePool2D),
    "BatchNormalization": calc.batch_normalization,
    "Cast": calc.identity,
    "Ceil": functions.named("ceiling"),
    "Celu": functions.celu,
    "Clip": calc.clip,
    "Concat": moves.concat,
    "Conv": weighted.conv,
    "ConvTranspose": weighted.conv_transpose,
    "Cos": functions.named("cosine"),
    "CumSum": functions.cumulative_sum,
    "DequantizeLinear": calc.dequantize_linear,
    "Div": calc.div,
    "DepthToSpace": moves.depth_to_space,
    "Dropout": calc.identity,
    "Einsum": einsum,
    "Elu": functions.elu,
    "Erf": calc.unary(Erf()),
    "Exp": calc.unary(Exp()),
    "Expand": moves.expand,
    "Floor": functions.named("floor"),
    "Flatten": moves.flatten,
    "Gather": moves.gather,
    "GRU": recurrent.gru,
    "Gelu": calc.gelu,
    "Gemm": weighted.gemm,
    "GlobalAveragePool": weighted.global_average_pool,
    "GlobalMaxPool": weighted.global_max_pool,
    "GroupNormalization": normalise.group_norm,
    "HardSigmoid": calc.hard_sigmoid,
    "HardSwish": calc.unary(HardSwish()),
    "Identity": calc.identity,
    "InstanceNormalization": normalise.instance_norm,
    "LSTM": recurrent.lstm,
    "LayerNormalization": normalise.layer_norm,
    "LRN": normalise.local_response,
    "LeakyRelu": calc.leaky_relu,
    "Log": calc.unary(Log()),
    "LogSoftmax": calc.softmax(LogSoftmax),
    "LpNormalization": functions.lp_normalization,
    "MatMul": weighted.matmul,
    "Max": calc.folded(Maximum()),
    "MaxPool": weighted.pool(MaxPool2D),
    "Min": calc.folded(Minimum()),
    "Mish": functions.named("mish"),
    "Mul": calc.mul,
    "Neg": calc.neg,
    "PRelu": calc.prelu,
    "Pad": moves.pad,
    "Pow": calc.power,
    "QuantizeLinear": calc.quantize_linear,
    "Reciprocal": calc.reciprocal,
    "RMSNormalization": functions.rms_normalization,
    "ReduceL1": functions.norm("ReduceL1"),
    "ReduceL2": functions.norm("ReduceL2"),
    "ReduceMax": functions.reduced(ReduceMax),
    "ReduceMean": functions.reduced(Mean),
    "ReduceMin": functions.reduced(ReduceMin),
    "ReduceSum": functions.norm("ReduceSum"),
    "ReduceSumSquare": functions.norm("ReduceSumSquare"),
    "Relu": calc.unary(Relu(Activation.RELU)),
    "Reshape": moves.reshape,
    "Resize": moves.resize,
    "Round": functions.named("round"),
    "Selu": functions.selu,
    "Shrink": functions.shrink,
    "Sigmoid": calc.unary(Logistic()),
    "Sign": functions.named("sign"),
    "Sin": functions.named("sine"),
    "Slice": moves.slice_,
    "Softmax": calc.softmax(Softmax),
    "Softplus": functions.named("softplus", 1.0),
    "Softsign": functions.named("softsign"),
    "SpaceToDepth": moves.space_to_depth,
    "Split": moves.split,
    "Sqrt": calc.unary(Sqrt()),
    "Squeeze": moves.squeeze,
    "Sub": calc.binary(Sub()),
    "Sum": calc.folded(Add()),
    "Swish": functions.swish,
    "Tanh": calc.unary(Tanh()),
    "ThresholdedRelu": functions.thresholded_relu,
    "Tile": moves.tile,
    "TopK": functions.top_k,
    "Transpose": moves.transpose,
    "Trilu": functions.triangle,
    "Unsqueeze": moves.unsqueeze,
    "Upsample": moves.resize,
    "Where": attention.where,
}


def import_onnx(
    data: bytes, name: str, folder: Path | None = None, known: Known = NOTHING_KNOWN
) -> Graph:
    """Return the float graph of an ONNX file.

    Inputs and outputs keep the file's order of axes; inside, maps are channels last.

    Args:
        data: the file.
        name: the graph's name.
        folder: where external data may lie.
        known: what the caller says of the inputs.

    Raises:
        ModelError: E204 damaged file, E206 illegal operator, E207 shapes that are not fixed, E208
            inputs that are not float32, E209 opset, E210 unsupported operators, all of them, E212
            external data.
    """
    model = open_onnx(data)
    walk = _Walk(model, folder, known)
    for index, proto in enumerate(model.graph.node):
        walk.visit(index, proto)
    walk.refuse()
    return verify_float(simplify_float(walk.graph(name)))


def refused_operators(data: bytes) -> Mapping[int, str]:
    """Return the operators of an ONNX file that have no counterpart, with the reason if known.

    What depends on them is not looked at: it may hold more of them.

    Returns:
        Reasons by the operators' places in the file.

    Raises:
        ModelError: as `import_onnx`, but for E210.
    """
    walk = _Walk(open_onnx(data), None, NOTHING_KNOWN)
    found: dict[int, str] = {}
    for index, proto in enumerate(walk.model.graph.node):
        known = len(walk.refused)
        walk.visit(index, proto)
        if len(walk.refused) > known:
            found[index] = walk.refused[known].partition('": ')[2]
    return found


class _Walk:
    """One pass over the nodes, in the file's order."""

    def __init__(self, model: Any, folder: Path | None, known: Known) -> None:
        self.model, self.folder, self.opset = model, folder, opset_of(model)
        self.build = Builder()
        self.refused: list[str] = []
        self.unknown: set[str] = set()  # outputs of refused nodes
        self.visited = 0
        self.build.values.update(initialisers(model.graph, folder))
        self.build.values.update(known.constants(model.graph.input))
        given = (v for v in model.graph.input if v.name not in self.build.values)
        self.inputs = [self.build.input(v.name, input_shape(v, known)) for v in given]

    def visit(self, index: int, proto: Any) -> None:
        """Read one node: a constant, operators of the graph, or the branch that is taken."""
        self.visited += 1
        try:
            parts = spelled_out(proto, self.build.values)
        except UnsupportedError as error:
            self._refuse(index, proto, error)
            return
        except _DEFECTS as error:
            where = f"{proto.op_type} at #{index}"
            raise ModelError("E206", f"illegal operator: {error}", where=where) from None
        for part in parts:
            self._visit(index, part)

    def _visit(self, index: int, proto: Any) -> None:
        names = tuple(proto.input)
        self.build.label = proto.output[0] if proto.output else ""
        known = {n: self._value(n, index, proto) for n in names if n and n not in self.unknown}
        poisoned = any(n in self.unknown for n in names)
        inputs = tuple(known.get(n) for n in names)
        try:
            _check_known(proto)
            if poisoned:
                self.unknown.update(proto.output)
            elif proto.op_type == "If":
                self._branch(proto, inputs)
            elif not self._constant(proto, inputs):
                self._operator(index, proto, names, inputs)
        except UnsupportedError as error:
            self._refuse(index, proto, error)
        except ModelError as error:
            where = error.where or f'{proto.op_type} at #{index} "{self.build.label[:60]}"'
            raise ModelError(error.code, error.what, where=where, hints=error.hints) from None
        except _DEFECTS as error:
            where = f"{proto.op_type} at #{index}"
            raise ModelError("E206", f"illegal operator: {error}", where=where) from None

    def _branch(self, proto: Any, inputs: tuple[Value | None, ...]) -> None:
        """Read the branch of an If whose condition is known; its outputs are the node's."""
        (condition,) = inputs
        if condition is None or isinstance(condition, str):
            raise UnsupportedError("whose condition is computed")
        name = "then_branch" if condition.reshape(-1)[0] else "else_branch"
        (branch,) = (one.g for one in proto.attribute if one.name == name)
        self.build.values.update(initialisers(branch, self.folder))
        for index, inner in enumerate(branch.node):
            self.visit(index, inner)
        for output, made in zip(proto.output, branch.output, strict=True):
            if made.name in self.unknown:
                self.unknown.add(output)
            else:
                self.build.values[output] = self._value(made.name, len(branch.node), proto)

    def _refuse(self, index: int, proto: Any, error: UnsupportedError) -> None:
        label = (proto.output[0] if proto.output else "?")[:60]
        why = f": {error}" if str(error) else ""
        self.refused.append(f'{proto.op_type} at #{index} "{label}"{why}')
        self.unknown.update(proto.output)

    def _value(self, name: str, index: int, proto: Any) -> Value:
        if name not in self.build.values:
            raise ModelError(
                "E205",
                f'reads "{name[:60]}" before it is made',
                where=f"{proto.op_type} at #{index}",
            )
        return self.build.values[name]

    def _constant(self, proto: Any, inputs: tuple[Value | None, ...]) -> bool:
        """Compute a node at once if it depends on constants alone."""
        values = self.build.values
        if proto.op_type == "Constant":
            values[proto.output[0]] = _literal(attributes(proto, self.folder))
            return True
        known = _known_of(proto, inputs, self.build)
        if known is not None:
            values[proto.output[0]] = known
            return True
        constants = [v for v in inputs if not isinstance(v, str)]
        if len(constants) < len(inputs) or not inputs:
            return False
        if proto.op_type == "DequantizeLinear":
            self._dequantize(proto, constants)
            return True
        if proto.op_type not in FOLDABLE:
            return False
        results = fold(proto, self.opset, constants)
        values.update(zip(proto.output, results, strict=True))
        return True

    def _dequantize(self, proto: Any, constants: list[Any]) -> None:
        zero = constants[2] if len(constants) > 2 else None
        axis = int(attributes(proto).get("axis", 1))
        real, quant = dequantized(constants[0], constants[1], zero, axis)
        self.build.values[proto.output[0]] = real
        if quant is not None:
            self.build.quants[proto.output[0]] = quant

    def _operator(
        self, index: int, proto: Any, names: tuple[str, ...], inputs: tuple[Value | None, ...]
    ) -> None:
        reader = READERS.get(proto.op_type)
        if reader is None:
            raise UnsupportedError("of values that are computed")
        outputs = tuple(name for name in proto.output if name)
        extra = attributes(proto, self.folder)
        node = OnnxNode(proto.op_type, index, self.opset, names, inputs, outputs, extra, self.build)
        # Dropout and others may name further outputs, which nobody may read; LSTM leaves some out.
        made = zip(proto.output, reader(node), strict=False)
        self.build.values.update((name, value) for name, value in made if name)

    def refuse(self) -> None:
        """Raise E210 with every operator that was refused."""
        refuse_all(self.refused, self.visited, [_ENGINE])

    def graph(self, name: str) -> Graph:
        """Return the graph as it was read."""
        outputs = {}
        for output in self.model.graph.output:
            value = self.build.values.get(output.name)
            if not isinstance(value, str):
                raise ModelError("E205", f'graph output "{output.name}" is not computed')
            outputs[output.name] = value
        return self.build.graph(name, self.inputs, outputs)


def _check_known(proto: Any) -> None:
    """Refuse operators that nobody reads, by kind and domain."""
    kind, domain = proto.op_type, proto.domain
    if domain not in ("", "ai.onnx") and not (domain == "com.microsoft" and kind in _CONTRIBUTED):
        raise UnsupportedError(f"of the domain {domain}")
    if kind in _CONTROL:
        raise UnsupportedError("control flow; unroll it when the model is exported")
    if kind not in READERS and kind not in FOLDABLE | _OWN:
        raise UnsupportedError("")


def _known_of(proto: Any, inputs: Sequence[Value | None], build: Builder) -> Array | None:
    """Return the value of a node that follows from its input's shape, ``None`` for others."""
    x = next((value for value in inputs if value is not None), None)
    if x is None or proto.op_type not in ("IsInf", "IsNaN", "Shape", "Size"):
        return None
    extra, shape = attributes(proto), build.shape(x)
    if proto.op_type == "Size":
        return np.array(math.prod(shape), np.int64)
    if proto.op_type == "Shape":
        return np.array(shape[extra.get("start", 0) : extra.get("end", len(shape))], np.int64)
    return np.zeros(shape, np.bool_) if isinstance(x, str) else None


def _literal(extra: Mapping[str, Any]) -> Any:
    """Return the value of a Constant node."""
    for key, dtype in (
        ("value_float", np.float32), ("value_floats", np.float32),
        ("value_int", np.int64), ("value_ints", np.int64),
    ):  # fmt: skip
        if key in extra:
            return np.array(extra[key], dtype)
    if "value" not in extra:
        raise UnsupportedError("of this kind")
    return extra["value"]
