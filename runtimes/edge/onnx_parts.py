"""An ONNX graph cut into parts, each a model of its own.

Operators are of two kinds, those that become C and those that an engine executes. A part holds as
many of one kind as can run one after the other, so that the kinds change as seldom as possible.
What depends on constants and shapes alone belongs to every part that reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.errors import UsageError
from toolchain.importers.onnx_file import open_onnx, tensor_values
from toolchain.ir import Array

_SHAPES = ("Shape", "Size")
_DRAWN = ("Random", "Multinomial", "Bernoulli")  # starts of operators that draw numbers


@dataclass(frozen=True)
class Part:
    """Operators that run one after the other.

    Attributes:
        compiled: whether they become C.
        nodes: their places in the file.
        inputs: the tensors that they read of other parts or of the graph's inputs.
        outputs: the tensors that other parts or the caller read of them.
    """

    compiled: bool
    nodes: tuple[int, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class CutModel:
    """An ONNX model, run once so that the type and shape of every tensor are known.

    Args:
        path: the file.
        feeds: one value per graph input, by name.

    Raises:
        ModelError: E204, E209, E212 as the importer of ONNX files.
        UsageError: E141 if onnxruntime does not execute the model.
    """

    def __init__(self, path: Path, feeds: Mapping[str, Array]) -> None:
        self.model = _whole(path)
        self.nodes: Sequence[Any] = list(self.model.graph.node)
        self.reads = [list(_names_read(node)) for node in self.nodes]
        self._constants = {one.name: one for one in self.model.graph.initializer}
        self._maker = {name: i for i, node in enumerate(self.nodes) for name in node.output if name}
        self._fixed = self._depending_on_constants()
        self._path, self._session = path, _session(self._with_all_outputs(), path)
        self.inputs = [one.name for one in self._session.get_inputs()]
        self.outputs = [one.name for one in self.model.graph.output]
        self.values = self.run([one.name for one in self._session.get_outputs()], feeds)
        self.values.update(feeds)

    def run(self, names: Sequence[str], feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Return the tensors ``names`` for the graph inputs ``feeds``; those that are arrays.

        Raises:
            UsageError: E141 if onnxruntime fails.
        """
        if not names:  # which onnxruntime takes for all
            return {}
        try:
            made = self._session.run(list(names), dict(feeds))
        except Exception as error:  # what it raises is not one type
            raise _refused(self._path, error) from None
        return {n: v for n, v in zip(names, made, strict=True) if isinstance(v, np.ndarray)}

    def parts(self, left: Iterable[int]) -> list[Part]:
        """Return the parts when the engine gets the operators ``left``.

        With them go those that hand them, or take from them, anything but real numbers.
        """
        theirs = set(left) - self._fixed
        while more := set(self._bound_to(theirs)) - theirs:
            theirs |= more
        found = min((self._waves(theirs, first) for first in (True, False)), key=len)
        return [self._part(compiled, nodes) for compiled, nodes in found]

    def submodel(self, part: Part) -> bytes:
        """Return a part as an ONNX file."""
        from onnx import helper, numpy_helper

        needed: dict[int, None] = {}
        constants: dict[str, Any] = {}
        pending = [name for i in part.nodes for name in self.reads[i]]
        while pending:
            name = pending.pop()
            maker = self._maker.get(name)
            if name in self._constants:
                constants[name] = self._constants[name]
            elif maker in self._fixed and self.nodes[maker].op_type in _SHAPES:
                constants[name] = numpy_helper.from_array(self.values[name], name)
            elif maker in self._fixed and maker not in needed:
                needed[maker] = None
                pending += self.reads[maker]
        graph = helper.make_graph(
            [self.nodes[i] for i in sorted({*needed, *part.nodes})],
            "part",
            [self._port(name) for name in part.inputs],
            [self._port(name) for name in part.outputs],
            list(constants.values()),
        )
        made = helper.make_model(
            graph, opset_imports=self.model.opset_import, functions=self.model.functions
        )
        made.ir_version = self.model.ir_version
        return bytes(made.SerializeToString())

    def places(self, part: Part) -> list[int]:
        """Return the place in the file of every node of `submodel`."""
        from onnx import ModelProto

        inside = ModelProto.FromString(self.submodel(part)).graph.node
        return [self._maker[next(name for name in node.output if name)] for node in inside]

    def _port(self, name: str) -> Any:
        from onnx import helper

        value = self.values[name]
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        return helper.make_tensor_value_info(name, kind, value.shape)

    def _depending_on_constants(self) -> set[int]:
        """Return the nodes whose results no input changes, but by its shape."""
        fixed: set[int] = set()
        for i, node in enumerate(self.nodes):
            known = all(n in self._constants or self._maker.get(n) in fixed for n in self.reads[i])
            if node.op_type in _SHAPES or (known and not node.op_type.startswith(_DRAWN)):
                fixed.add(i)
        return fixed

    def _with_all_outputs(self) -> bytes:
        from onnx import ModelProto, ValueInfoProto

        model = ModelProto()
        model.CopyFrom(self.model)
        known = {one.name for one in model.graph.output}
        for i, node in enumerate(self.nodes):
            if i not in self._fixed or node.op_type in _SHAPES:
                names = (name for name in node.output if name and name not in known)
                model.graph.output.extend(ValueInfoProto(name=name) for name in names)
        return bytes(model.SerializeToString())

    def _moving(self) -> list[int]:
        """Return the nodes that compute something of the inputs, in the file's order."""
        return [i for i in range(len(self.nodes)) if i not in self._fixed]

    def _edges(self, i: int) -> Iterator[tuple[str, int | None]]:
        """Yield what a node reads that is computed, and the node that makes it."""
        for name in self.reads[i]:
            maker = self._maker.get(name)
            if name not in self._constants and maker not in self._fixed:
                yield name, maker

    def _bound_to(self, theirs: set[int]) -> Iterator[int]:
        """Yield the nodes on both sides of an edge between the kinds that is not of real numbers.

        The caller is one of the engine's kind.
        """
        for i in self._moving():
            for name, maker in self._edges(i):
                value = self.values.get(name)
                real = value is not None and value.dtype == np.float32
                if not real and (i in theirs) != (maker is None or maker in theirs):
                    yield from (one for one in (i, maker) if one is not None)

    def _waves(self, theirs: set[int], first: bool) -> list[tuple[bool, list[int]]]:
        """Return alternating parts, each as large as what is done allows.

        Args:
            theirs: the engine's operators.
            first: whether compiled ones begin.
        """
        left, done, compiled = self._moving(), set[int](), first
        waves: list[tuple[bool, list[int]]] = []
        while left:
            taken = []
            for i in left:
                ready = all(maker is None or maker in done for _, maker in self._edges(i))
                if (i not in theirs) == compiled and ready:
                    taken.append(i)
                    done.add(i)
            left = [i for i in left if i not in done]
            if taken:
                waves.append((compiled, taken))
            compiled = not compiled
        return waves

    def _part(self, compiled: bool, nodes: Sequence[int]) -> Part:
        inside = set(nodes)
        read = dict.fromkeys(n for i in nodes for n, m in self._edges(i) if m not in inside)
        outside = {n for i in self._moving() if i not in inside for n, _ in self._edges(i)}
        wanted = outside | set(self.outputs)
        made = [n for i in nodes for n in self.nodes[i].output if n in wanted]
        return Part(compiled, tuple(nodes), tuple(read), tuple(made))


def _whole(path: Path) -> Any:
    """Return the parsed file with its external data inside."""
    from onnx import TensorProto, numpy_helper

    try:
        model = open_onnx(path.read_bytes())
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise UsageError("E141", f"the file cannot be read: {why}", where=str(path)) from None
    for one in model.graph.initializer:
        if one.data_location == TensorProto.EXTERNAL:
            values = tensor_values(one, path.parent)
            one.CopyFrom(numpy_helper.from_array(values, one.name))
    return model


def _names_read(node: Any) -> Iterator[str]:
    """Yield the tensors that a node reads, those that its inner graphs take from outside too."""
    yield from dict.fromkeys(name for name in node.input if name)
    for attribute in node.attribute:
        for graph in [attribute.g, *attribute.graphs]:
            inside = {one.name for one in (*graph.input, *graph.initializer)}
            for inner in graph.node:
                yield from (name for name in _names_read(inner) if name not in inside)
                inside.update(inner.output)
            yield from (one.name for one in graph.output if one.name not in inside)


def _session(data: bytes, path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # what it raises is not one type
        raise _refused(path, error) from None


def _refused(path: Path, error: Exception) -> UsageError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return UsageError("E141", f"onnxruntime refuses the model: {reason}", where=str(path))
