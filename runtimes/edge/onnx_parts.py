"""ONNX models cut into parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from runtimes.edge.cut import Cut, Part
from toolchain.errors import UsageError
from toolchain.importers.onnx_file import open_onnx, tensor_values
from toolchain.ir import Array

_SHAPES = ("Shape", "Size")
_DRAWN = ("Random", "Multinomial", "Bernoulli")  # starts of operators that draw numbers


class OnnxCut(Cut):
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
        self.kinds = [node.op_type for node in self.nodes]
        self.called = [(node.name, *node.output) for node in self.nodes]
        self.reads = [list(_names_read(node)) for node in self.nodes]
        self.makes = [[name for name in node.output if name] for node in self.nodes]
        self._constants = {one.name: one for one in self.model.graph.initializer}
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

    def submodel(self, part: Part) -> bytes:
        """See `Cut.submodel`."""
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
            [self._info(name) for name in part.inputs],
            [self._info(name) for name in part.outputs],
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

    def known(self, name: str) -> bool:
        """See `Cut.known`."""
        return name in self._constants or self._maker.get(name) in self._fixed

    def crosses(self, name: str) -> bool:
        """See `Cut.crosses`."""
        value = self.values.get(name)
        return value is not None and value.dtype == np.float32

    def port(self, name: str) -> dict[str, Any]:
        """See `Cut.port`."""
        value = self.values[name]
        return {"name": name, "shape": list(value.shape), "dtype": value.dtype.name}

    def _info(self, name: str) -> Any:
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
