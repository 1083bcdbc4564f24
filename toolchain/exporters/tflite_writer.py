"""Tensors and operator records, written as a ``.tflite`` flatbuffer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from toolchain.importers.tflite_types import CUSTOM_PREFIX, DTYPES, IDENTIFIER, SCHEMA_VERSION
from toolchain.ir import DType, Quant, Tensor
from toolchain.ops.nibbles import pack_nibbles

_ALIGNMENT = 16  # of constant data, as the schema demands
_FIRST_EXTENDED_CODE = 127  # larger codes do not fit the deprecated 8-bit field
_TYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class Record:
    """One operator of the file.

    Attributes:
        code: name of the builtin operator, such as ``"CONV_2D"``, or of a custom one.
        version: the operator's version; runtimes check it against the types they support.
        inputs: tensor names, ``None`` for an absent optional input.
        outputs: tensor names.
        options: name of the options table, empty for none.
        fields: the options by the names of the schema; enumerations as numbers.
    """

    code: str
    version: int
    inputs: tuple[str | None, ...]
    outputs: tuple[str, ...]
    options: str = ""
    fields: Mapping[str, int | float | str] = field(default_factory=dict)


@dataclass(frozen=True)
class Handle:
    """A tensor that stands for a variable of the file."""

    name: str
    variable: str


@dataclass(frozen=True)
class Subgraph:
    """A graph of the file: its tensors, operators, and names of inputs, outputs and variables."""

    name: str
    tensors: Sequence[Tensor | Handle]
    records: Sequence[Record]
    inputs: Sequence[str]
    outputs: Sequence[str]
    variables: frozenset[str] = frozenset()


def write(subgraphs: Sequence[Subgraph]) -> bytes:
    """Return the file; the first subgraph is the network."""
    return _Writer().model(subgraphs)


class _Writer:
    """Children before parents, as flatbuffers are built; every method returns an offset."""

    def __init__(self) -> None:
        import flatbuffers
        import tflite

        self.schema: Any = tflite
        self.builder: Any = flatbuffers.Builder(1024)

    def model(self, subgraphs: Sequence[Subgraph]) -> bytes:
        records = [record for subgraph in subgraphs for record in subgraph.records]
        codes = list(dict.fromkeys((record.code, record.version) for record in records))
        # Buffer 0 is empty by convention: tensors without data refer to it.
        buffers = [self.table("Buffer")]
        graphs = [self.subgraph(subgraph, codes, buffers) for subgraph in subgraphs]
        root = self.table(
            "Model",
            Version=SCHEMA_VERSION,
            OperatorCodes=self.offsets([self.operator_code(*code) for code in codes]),
            Subgraphs=self.offsets(graphs),
            Description=self.builder.CreateString("tessera"),
            Buffers=self.offsets(buffers),
        )
        self.builder.Finish(root, IDENTIFIER)
        return bytes(self.builder.Output())

    def subgraph(
        self, subgraph: Subgraph, codes: Sequence[tuple[str, int]], buffers: list[int]
    ) -> int:
        """Write a subgraph; the buffers of its constants are added to ``buffers``."""
        index = {tensor.name: number for number, tensor in enumerate(subgraph.tensors)}
        places: dict[str, int] = {}
        for tensor in subgraph.tensors:
            if isinstance(tensor, Tensor) and tensor.data is not None:
                places[tensor.name] = len(buffers)
                buffers.append(self.buffer(tensor))
        tensors = [
            self.tensor(t, places.get(t.name, 0), variable=t.name in subgraph.variables)
            for t in subgraph.tensors
        ]
        operators = [
            self.operator(r, codes.index((r.code, r.version)), index) for r in subgraph.records
        ]
        return self.table(
            "SubGraph",
            Tensors=self.offsets(tensors),
            Inputs=self.indices(subgraph.inputs, index),
            Outputs=self.indices(subgraph.outputs, index),
            Operators=self.offsets(operators),
            Name=self.builder.CreateString(subgraph.name),
        )

    def table(self, name: str, **fields: int | float) -> int:
        """Write a table of scalars and offsets made before."""
        getattr(self.schema, f"{name}Start")(self.builder)
        for key, value in fields.items():
            getattr(self.schema, f"{name}Add{key}")(self.builder, value)
        return int(getattr(self.schema, f"{name}End")(self.builder))

    def offsets(self, offsets: Sequence[int]) -> int:
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return int(self.builder.EndVector())

    def vector(self, values: Iterable[float], dtype: npt.DTypeLike) -> int:
        return int(self.builder.CreateNumpyVector(np.array(list(values), dtype=dtype)))

    def indices(self, names: Iterable[str | None], index: Mapping[str, int]) -> int:
        return self.vector((-1 if n is None else index[n] for n in names), np.int32)

    def buffer(self, tensor: Tensor) -> int:
        values = tensor.values
        if tensor.dtype is DType.INT4:
            values = pack_nibbles(values.reshape(1, -1))
        data = np.ascontiguousarray(values).tobytes()
        self.builder.Prep(_ALIGNMENT, len(data))
        return self.table("Buffer", Data=self.builder.CreateByteVector(data))

    def tensor(self, tensor: Tensor | Handle, buffer: int, *, variable: bool) -> int:
        if isinstance(tensor, Handle):
            name = self.builder.CreateString(tensor.name)
            return self.table("Tensor", Type=self.schema.TensorType.RESOURCE, Name=name)
        fields = {
            "Shape": self.vector(tensor.shape, np.int32),
            "Type": getattr(self.schema.TensorType, _TYPE_NAMES[tensor.dtype]),
            "Buffer": buffer,
            "Name": self.builder.CreateString(tensor.name),
            "HasRank": True,
            "IsVariable": variable,
        }
        if tensor.quant is not None:
            fields["Quantization"] = self.quantization(tensor.quant)
        return self.table("Tensor", **fields)

    def quantization(self, quant: Quant) -> int:
        return self.table(
            "QuantizationParameters",
            Scale=self.vector(quant.scales, np.float32),
            ZeroPoint=self.vector(quant.zero_points, np.int64),
            QuantizedDimension=quant.axis or 0,
        )

    def operator_code(self, code: str, version: int) -> int:
        custom: dict[str, int] = {}
        if code.startswith(CUSTOM_PREFIX):
            custom["CustomCode"] = self.builder.CreateString(code)
        number = getattr(self.schema.BuiltinOperator, "CUSTOM" if custom else code)
        return self.table(
            "OperatorCode",
            **custom,
            DeprecatedBuiltinCode=min(number, _FIRST_EXTENDED_CODE),
            Version=version,
            BuiltinCode=number,
        )

    def operator(self, record: Record, code: int, index: Mapping[str, int]) -> int:
        fields = {
            "OpcodeIndex": code,
            "Inputs": self.indices(record.inputs, index),
            "Outputs": self.indices(record.outputs, index),
        }
        if record.options:
            kind = getattr(self.schema.BuiltinOptions, record.options)
            options = {
                key: self.builder.CreateString(value) if isinstance(value, str) else value
                for key, value in record.fields.items()
            }
            fields["BuiltinOptions"] = self.table(record.options, **options)
            fields["BuiltinOptionsType"] = kind
        return self.table("Operator", **fields)
