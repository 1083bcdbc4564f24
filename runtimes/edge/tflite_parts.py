"""TFLite models cut into parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from runtimes.edge.cut import Cut, Part
from toolchain.errors import ToolError, UsageError
from toolchain.importers.flatbuffer import corrupt
from toolchain.importers.tflite_file import integers, open_model, operators, text
from toolchain.importers.tflite_types import DTYPES
from toolchain.ir import DType

_UNKNOWN = "an operator names a tensor that is not there"
_REAL = (DType.FLOAT32, DType.INT8, DType.INT16)


class TfliteCut(Cut):
    """A ``.tflite`` model of one graph.

    Args:
        path: the file.

    Raises:
        ModelError: E201, E204 if it is no such file, or damaged.
        UsageError: E141 if it holds several graphs.
        ToolError: E605 without ai-edge-litert, whose schema writes the parts.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._data = path.read_bytes()
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise UsageError("E141", f"the file cannot be read: {why}", where=str(path)) from None
        model = open_model(self._data)
        if model.SubgraphsLength() != 1:
            raise UsageError("E141", "only models of one graph are split", where=str(path))
        graph = model.Subgraphs(0)
        self._tensors = [graph.Tensors(i) for i in range(graph.TensorsLength())]
        self._names = _unique([text(tensor.Name()) for tensor in self._tensors])
        self._place = {name: i for i, name in enumerate(self._names)}
        found = list(operators(model, graph))
        self.kinds = [kind for kind, _ in found]
        self.reads = [self._named(raw.InputsAsNumpy()) for _, raw in found]
        self.makes = [self._named(raw.OutputsAsNumpy()) for _, raw in found]
        self.called = self.makes
        self.inputs = self._named(graph.InputsAsNumpy())
        self.outputs = self._named(graph.OutputsAsNumpy())
        given = {*self.inputs, *(name for made in self.makes for name in made)}
        self._constants = set(self._names) - given

    def known(self, name: str) -> bool:
        """See `Cut.known`; tensors that live on between calls are their operator's own."""
        return name in self._constants

    def crosses(self, name: str) -> bool:
        """See `Cut.crosses`."""
        return self._dtype(name) in _REAL

    def port(self, name: str) -> dict[str, Any]:
        """See `Cut.port`."""
        tensor = self._tensors[self._place[name]]
        quant, dtype = tensor.Quantization(), self._dtype(name)
        facts: dict[str, Any] = {
            "name": name,
            "shape": [int(size) for size in tensor.ShapeAsNumpy()],
            "dtype": dtype.value if dtype else "float32",
        }
        if quant is not None and quant.ScaleLength() == 1 and dtype is not DType.FLOAT32:
            zero = int(quant.ZeroPoint(0)) if quant.ZeroPointLength() else 0
            facts |= {"scale": float(np.float32(quant.Scale(0))), "zero_point": zero}
        return facts

    def submodel(self, part: Part) -> bytes:
        """See `Cut.submodel`: the operators, and what they read of tensors and buffers."""
        import flatbuffers

        model = self._objects()
        (graph,) = model.subgraphs
        graph.operators = [graph.operators[i] for i in part.nodes]
        graph.inputs = [self._place[name] for name in part.inputs]
        graph.outputs = [self._place[name] for name in part.outputs]
        lists = [graph.inputs, graph.outputs]
        lists += [
            one for op in graph.operators for one in (op.inputs, op.outputs, op.intermediates)
        ]
        named = {int(i) for one in lists if one is not None for i in one}
        if not named <= set(range(-1, len(self._names))):
            raise corrupt(_UNKNOWN)
        used = sorted(named - {-1})
        number = {old: new for new, old in enumerate(used)} | {-1: -1}
        graph.tensors = [graph.tensors[i] for i in used]
        buffers = sorted({0, *(tensor.buffer for tensor in graph.tensors)})
        if buffers[-1] >= len(model.buffers):
            raise corrupt("a tensor names a buffer that is not there")
        for tensor in graph.tensors:
            tensor.buffer = buffers.index(tensor.buffer)
        model.buffers = [model.buffers[i] for i in buffers]
        for holder, field in [
            *((graph, field) for field in ("inputs", "outputs")),
            *((op, f) for op in graph.operators for f in ("inputs", "outputs", "intermediates")),
        ]:
            old = getattr(holder, field)
            setattr(holder, field, None if old is None else [number[int(i)] for i in old])
        model.signatureDefs, model.metadata, model.metadataBuffer = [], [], []
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _objects(self) -> Any:
        try:
            from ai_edge_litert.schema_py_generated import ModelT
        except ImportError:
            hint = 'pip install "ai-edge-litert>=1.0"'
            raise ToolError("E605", "ai-edge-litert is not installed", hints=[hint]) from None
        try:  # fields that the importer does not read are not checked yet
            return ModelT.InitFromPackedBuf(self._data, 0)
        except Exception as error:  # what the generated code raises is not one type
            raise corrupt(str(error)) from None

    def _named(self, places: Any) -> list[str]:
        found = integers(places)
        if any(not -1 <= i < len(self._names) for i in found):
            raise corrupt(_UNKNOWN)
        return [self._names[i] for i in found if i >= 0]

    def _dtype(self, name: str) -> DType | None:
        import tflite

        number = self._tensors[self._place[name]].Type()
        kinds = {n: kind for kind, n in vars(tflite.TensorType).items() if isinstance(n, int)}
        return DTYPES.get(kinds.get(number, ""))


def _unique(names: list[str]) -> list[str]:
    """Return names with the place of those that occur twice behind them."""
    return [f"{name}#{i}" if names.count(name) > 1 else name for i, name in enumerate(names)]
