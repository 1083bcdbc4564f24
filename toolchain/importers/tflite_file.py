"""The ``.tflite`` file as a checked structure: what is read of it, and where it must lie."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from toolchain.errors import ModelError
from toolchain.importers.flatbuffer import Scalars, Table, Tables, check, corrupt
from toolchain.importers.tflite_types import IDENTIFIER, SCHEMA_VERSION

_MAX_NAME = 400  # characters
EMBEDDING = "GATHER of computed indices"
_BYTES, _INTS, _LONGS = Scalars(1), Scalars(4), Scalars(8)

_OPTIONS = Table("options", loose=True)
_QUANTIZATION = Table("QuantizationParameters", scalars={6: 4}, vectors={2: _INTS, 3: _LONGS})
_TENSOR = Table(
    "Tensor",
    scalars={1: 1, 2: 4, 5: 1, 6: 4},
    vectors={0: _INTS, 3: _BYTES, 7: _INTS},
    tables={4: _QUANTIZATION},
)
_OPERATOR = Table(
    "Operator",
    scalars={0: 4, 3: 1},
    vectors={1: _INTS, 2: _INTS},
    tables={4: _OPTIONS},
)
_SUBGRAPH = Table(
    "SubGraph",
    vectors={1: _INTS, 2: _INTS},
    tables={0: Tables(_TENSOR), 3: Tables(_OPERATOR)},
)
_OPERATOR_CODE = Table("OperatorCode", scalars={0: 1, 2: 4, 3: 4}, vectors={1: _BYTES})
_BUFFER = Table("Buffer", scalars={1: 8, 2: 8}, vectors={0: _BYTES})
_MODEL = Table(
    "Model",
    scalars={0: 4},
    tables={1: Tables(_OPERATOR_CODE), 2: Tables(_SUBGRAPH), 4: Tables(_BUFFER)},
)


def open_model(data: bytes) -> Any:
    """Return the generated accessor of the file's root, after every offset was checked.

    Raises:
        ModelError: E201 if this is no ``.tflite`` file of the known version, E204 if it is
            damaged.
    """
    import tflite

    if data[4:8] != IDENTIFIER:
        raise ModelError("E201", "not a .tflite file: the identifier TFL3 is missing")
    check(data, _MODEL)
    model: Any = tflite.Model.GetRootAsModel(data, 0)
    if model.Version() != SCHEMA_VERSION:
        raise ModelError("E201", f".tflite schema version {model.Version()} is not supported")
    if model.SubgraphsLength() == 0:
        raise corrupt("it holds no graph")
    return model


def operators(model: Any, subgraph: Any) -> Iterator[tuple[str, Any]]:
    """Yield name and accessor of every operator, in the file's order.

    A GATHER of indices that are computed, which is another matter, has a name of its own.
    """
    import tflite

    names = {n: name for name, n in vars(tflite.BuiltinOperator).items() if isinstance(n, int)}
    for index in range(subgraph.OperatorsLength()):
        raw = subgraph.Operators(index)
        if not 0 <= raw.OpcodeIndex() < model.OperatorCodesLength():
            raise corrupt(f"operator {index} has no operator code")
        code = model.OperatorCodes(raw.OpcodeIndex())
        # Codes that fit 8 bits stand in the deprecated field of old files.
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        name = names.get(number, f"builtin {number}")
        if name == "CUSTOM":
            name = f'CUSTOM "{text(code.CustomCode())}"'
        elif name == "GATHER" and not _second_is_constant(model, subgraph, raw):
            name = EMBEDDING
        yield name, raw


def _second_is_constant(model: Any, subgraph: Any, raw: Any) -> bool:
    """Tell whether an operator's second input holds data."""
    (index,) = integers(raw.InputsAsNumpy())[1:2] or (-1,)
    if not 0 <= index < subgraph.TensorsLength():
        return False
    buffer = subgraph.Tensors(index).Buffer()
    known = 0 <= buffer < model.BuffersLength()
    return known and bool(model.Buffers(buffer).DataLength())


def integers(vector: Any) -> tuple[int, ...]:
    """Return a vector as numbers; the generated accessors return 0 for an absent one."""
    return () if isinstance(vector, int) else tuple(int(v) for v in vector)


def text(value: bytes | None) -> str:
    """Return a string of the file as one printable line."""
    decoded = (value or b"").decode("utf-8", errors="replace")
    return "".join(c if c.isprintable() else "?" for c in decoded[:_MAX_NAME])


def short(name: str) -> str:
    """Return a layer's name for a message: converters join the names of all fused operators."""
    return name.split(";", maxsplit=1)[0]
