"""Tensors and operator records, written as a ``.tflite`` flatbuffer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from toolchain.importers.tflite_types import DTYPES, IDENTIFIER, SCHEMA_VERSION
from toolchain.ir import Array, Quant, Tensor

_ALIGNMENT = 16  # of constant data, as the schema demands
_FIRST_EXTENDED_CODE = 127  # larger codes do not fit the deprecated 8-bit field
_TYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class Record:
    """One operator of the file.

    Attributes:
        code: name of the builtin operator, such as ``"CONV_2D"``.
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
    fields: Mapping[str, int | float] = field(default_factory=dict)


def write(
    tensors: Sequence[Tensor],
    records: Sequence[Record],
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> bytes:
    """Return the file with one subgraph."""
    return _Writer(tensors).model(records, inputs, outputs)


class _Writer:
    """Children before parents, as flatbuffers are built; every method returns an offset."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        import flatbuffers
        import tflite

        self.schema: Any = tflite
        self.builder: Any = flatbuffers.Builder(1024)
        self.tensors = tensors
        self.index = {tensor.name: number for number, tensor in enumerate(tensors)}

    def model(
        self, records: Sequence[Record], inputs: Sequence[str], outputs: Sequence[str]
    ) -> bytes:
        codes = list(dict.fromkeys((record.code, record.version) for record in records))
        constants = [tensor for tensor in self.tensors if tensor.data is not None]
        # Buffer 0 is empty by convention: tensors without data refer to it.
        buffers = [self.table("Buffer")] + [self.buffer(tensor.values) for tensor in constants]
        places = {tensor.name: number for number, tensor in enumerate(constants, start=1)}
        graph = self.table(
            "SubGraph",
            Tensors=self.offsets([self.tensor(t, places.get(t.name, 0)) for t in self.tensors]),
            Inputs=self.indices(inputs),
            Outputs=self.indices(outputs),
            Operators=self.offsets(
                [self.operator(r, codes.index((r.code, r.version))) for r in records]
            ),
            Name=self.builder.CreateString("main"),
        )
        root = self.table(
            "Model",
            Version=SCHEMA_VERSION,
            OperatorCodes=self.offsets([self.operator_code(*code) for code in codes]),
            Subgraphs=self.offsets([graph]),
            Description=self.builder.CreateString("tessera"),
            Buffers=self.offsets(buffers),
        )
        self.builder.Finish(root, IDENTIFIER)
        return bytes(self.builder.Output())

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

    def indices(self, names: Iterable[str | None]) -> int:
        return self.vector((-1 if n is None else self.index[n] for n in names), np.int32)

    def buffer(self, values: Array) -> int:
        data = np.ascontiguousarray(values).tobytes()
        self.builder.Prep(_ALIGNMENT, len(data))
        return self.table("Buffer", Data=self.builder.CreateByteVector(data))

    def tensor(self, tensor: Tensor, buffer: int) -> int:
        fields = {
            "Shape": self.vector(tensor.shape, np.int32),
            "Type": getattr(self.schema.TensorType, _TYPE_NAMES[tensor.dtype]),
            "Buffer": buffer,
            "Name": self.builder.CreateString(tensor.name),
            "HasRank": True,
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
        number = getattr(self.schema.BuiltinOperator, code)
        return self.table(
            "OperatorCode",
            DeprecatedBuiltinCode=min(number, _FIRST_EXTENDED_CODE),
            Version=version,
            BuiltinCode=number,
        )

    def operator(self, record: Record, code: int) -> int:
        fields = {
            "OpcodeIndex": code,
            "Inputs": self.indices(record.inputs),
            "Outputs": self.indices(record.outputs),
        }
        if record.options:
            kind = getattr(self.schema.BuiltinOptions, record.options)
            fields["BuiltinOptions"] = self.table(record.options, **record.fields)
            fields["BuiltinOptionsType"] = kind
        return self.table("Operator", **fields)
