"""An ONNX file, opened with care: structure, opsets, initialisers and external data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.errors import ModelError, UsageError
from toolchain.ir import Array

OPSETS = range(8, 27)
_MAX_ELEMENTS = 2**28
_TOGETHER = ["keep the files that were exported together in one folder, beside the model"]


def open_onnx(data: bytes) -> Any:
    """Return the parsed ``ModelProto``.

    Raises:
        ModelError: E204 if it is damaged, E209 for an opset that is not supported.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.ModelProto.FromString(data)
    except (DecodeError, RuntimeError, ValueError) as error:
        hints = ["copy or export the file again"]
        raise ModelError("E204", f"damaged ONNX file: {error}", hints=hints) from None
    if not model.graph.node or not model.graph.output:
        raise ModelError("E204", "damaged ONNX file: it holds no graph")
    opset = opset_of(model)
    if opset not in OPSETS:
        raise ModelError(
            "E209",
            f"opset {opset} is not supported (8 to {OPSETS[-1]})",
            hints=["export the model with opset_version=17"],
        )
    return model


def opset_of(model: Any) -> int:
    """Return the version of the standard operators."""
    return max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)


@dataclass(frozen=True)
class Known:
    """What the caller says of a file's inputs.

    Attributes:
        shapes: of inputs that the file leaves open.
        values: of inputs that shall be constants.
    """

    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    values: Mapping[str, float] = field(default_factory=dict)

    def constants(self, inputs: Iterable[Any]) -> Iterator[tuple[str, Array]]:
        """Yield name and value of the inputs that are constants, in the file's type.

        Raises:
            UsageError: E122 for a name that no input has.
        """
        from onnx import helper

        declared = {one.name: one.type.tensor_type for one in inputs}
        for name in (*self.shapes, *self.values):
            if name not in declared:
                raise UsageError(
                    "E122", f"no input is called {name}", hints=[f"inputs: {', '.join(declared)}"]
                )
        for name, value in self.values.items():
            kind = declared[name]
            shape = [d.dim_value or 1 for d in kind.shape.dim]
            yield name, np.full(shape, value, helper.tensor_dtype_to_np_dtype(kind.elem_type))


NOTHING_KNOWN = Known()


def initialisers(graph: Any, folder: Path | None) -> Mapping[str, Array]:
    """Return the constants of a graph of the file by name.

    Args:
        graph: the parsed graph.
        folder: where external data may lie, ``None`` if there can be none.
    """
    return {one.name: tensor_values(one, folder) for one in graph.initializer}


def tensor_values(proto: Any, folder: Path | None) -> Array:
    """Return the values of a ``TensorProto``; nothing larger than its data is allocated.

    Raises:
        ModelError: E204 if its data does not fit its shape, E212 for external data that is
            missing or outside the model's folder.
    """
    from onnx import TensorProto, numpy_helper

    where = f'tensor "{proto.name}"'
    size = math.prod(proto.dims)
    if size > _MAX_ELEMENTS or min(proto.dims, default=0) < 0:
        raise ModelError("E204", f"shape {list(proto.dims)} is not legal", where=where)
    if proto.data_location == TensorProto.EXTERNAL:
        copy = TensorProto()
        copy.CopyFrom(proto)
        copy.raw_data = _external(proto, folder, where)
        copy.data_location = TensorProto.DEFAULT
        proto = copy
    try:
        values = np.asarray(numpy_helper.to_array(proto))
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError("E204", f"damaged constant: {error}", where=where) from None
    if values.dtype in (np.float64, np.float16):
        values = values.astype(np.float32)
    return without_nan(values, where)


def without_nan(values: Array, where: str) -> Array:
    """Return constants that are numbers.

    Raises:
        ModelError: E216 if one of them is none.
    """
    bad = int(np.count_nonzero(np.isnan(values))) if values.dtype.kind == "f" else 0
    if bad:
        raise ModelError(
            "E216",
            f"{bad} of {values.size} values are not numbers (NaN)",
            where=where,
            hints=["find the training step or the conversion that made them, and export again"],
        )
    return values


def _external(proto: Any, folder: Path | None, where: str) -> bytes:
    facts = {entry.key: entry.value for entry in proto.external_data}
    location = facts.get("location", "")
    if folder is None or not location:
        raise ModelError("E212", "external data without a place", where=where, hints=_TOGETHER)
    root = folder.resolve()
    path = (root / location).resolve()
    if not path.is_relative_to(root):
        raise ModelError(
            "E212",
            f"external data {location!r} lies outside the model's folder",
            where=where,
            hints=_TOGETHER,
        )
    try:
        offset, length = int(facts.get("offset", 0)), int(facts.get("length", -1))
        if offset < 0 or not path.is_file():
            raise ModelError(
                "E212", f"external data {location!r} is missing", where=where, hints=_TOGETHER
            )
        with path.open("rb") as file:
            file.seek(offset)
            found = bytes(file.read(max(length, -1)))
    except (OSError, ValueError, OverflowError) as error:
        raise ModelError("E212", f"external data cannot be read: {error}", where=where) from None
    if len(found) < length:
        what = f"external data {location!r} holds {len(found)} of {length} bytes"
        raise ModelError("E212", what, where=where, hints=_TOGETHER)
    return found


def attributes(node: Any, folder: Path | None = None) -> dict[str, Any]:
    """Return a node's attributes; tensors as arrays, text as ``str``."""
    from onnx import AttributeProto, helper

    found: dict[str, Any] = {}
    for attribute in node.attribute:
        if attribute.type == AttributeProto.TENSOR:
            found[attribute.name] = tensor_values(attribute.t, folder)
            continue
        value = helper.get_attribute_value(attribute)
        found[attribute.name] = (
            value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        )
    return found


def input_shape(value: Any, known: Known = NOTHING_KNOWN) -> tuple[int, ...]:
    """Return the shape of a graph input; an unknown batch is 1.

    Args:
        value: the input as the file declares it.
        known: what the caller says of it.

    Raises:
        ModelError: E207 if another dimension is unknown, E208 unless it is float32.
    """
    from onnx import TensorProto

    where, kind = f'input "{value.name}"', value.type.tensor_type
    if kind.elem_type != TensorProto.FLOAT:
        hints = [f"tessera quantize MODEL --constant {value.name}=VALUE"]
        raise ModelError("E208", "only float32 inputs are supported", where=where, hints=hints)
    named = [d.dim_value or d.dim_param or "?" for d in kind.shape.dim]
    sizes = _completed(known, value.name, [d.dim_value for d in kind.shape.dim])
    if any(size <= 0 for size in sizes[1:]) or sizes[:1] < [0] or math.prod(sizes) > _MAX_ELEMENTS:
        raise ModelError(
            "E207",
            f"shape {named} is dynamic; only the batch may be",
            where=where,
            hints=[
                f"tessera quantize MODEL --shape {value.name}={','.join('N' for _ in sizes)}",
                "export the model with a fixed input shape",
            ],
        )
    return tuple(size or 1 for size in sizes)


def _completed(known: Known, name: str, declared: list[int]) -> list[int]:
    """Return a declared shape with the sizes that the caller gives in place of unknown ones."""
    given = known.shapes.get(name)
    if given is None:
        return declared
    pairs = list(zip(given, declared, strict=False))
    if len(given) != len(declared) or any(n <= 0 or n != m > 0 for n, m in pairs):
        named = [size or "?" for size in declared]
        raise UsageError("E122", f"input {name} is {named}, not {list(given)}")
    return list(given)
