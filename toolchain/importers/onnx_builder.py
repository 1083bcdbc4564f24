"""The float graph as it grows from an ONNX file.

Tensors keep the file's order of axes (NCHW); operators that need channels last are put between two
transposes. Those meet, cancel and sink in `toolchain.passes.transposes` afterwards, so that no
reader of an operator knows anything about layouts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from toolchain.errors import ModelError
from toolchain.importers.tflite_file import short
from toolchain.ir import Array, DType, Graph, Node, Operands, Quant, Tensor, constant
from toolchain.numerics import Activation
from toolchain.ops import Op, Relu, Reshape, Transpose
from toolchain.reference import infer_float

_MAX_LISTED = 40

Value = str | Array
"""What an ONNX name stands for: a tensor of the graph, or a known constant."""


class UnsupportedError(Exception):
    """An operator, or this use of it, has no counterpart."""


@dataclass
class Builder:
    """Tensors and nodes so far, and what every ONNX name stands for.

    Attributes:
        values: what every name of the file stands for.
        tensors: of the graph, by name.
        nodes: of the graph.
        quants: of constants that DequantizeLinear made.
        label: what tensors are named after: an output of the file's node that is being read.
    """

    values: dict[str, Value] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    quants: dict[str, Quant] = field(default_factory=dict)
    label: str = ""

    def input(self, name: str, shape: tuple[int, ...]) -> str:
        """Add a graph input."""
        self.tensors[name] = Tensor(name, shape, DType.FLOAT32)
        self.values[name] = name
        return name

    def shape(self, value: Value) -> tuple[int, ...]:
        """Return the shape of a tensor or constant."""
        return self.tensors[value].shape if isinstance(value, str) else value.shape

    def constant(self, data: Array, quant: Quant | None = None) -> str:
        """Add a float32 constant."""
        name = self._unused(f"constant_{len(self.tensors)}")
        with np.errstate(over="ignore"):
            values = np.ascontiguousarray(data, np.float32).reshape(np.shape(data))
        if not np.isfinite(values).all():
            raise UnsupportedError("of a constant that is not finite")
        self.tensors[name] = constant(name, values, quant)
        return name

    def add(
        self, op: Op, inputs: Sequence[str], label: str = "", dtype: DType | None = None
    ) -> str:
        """Add a node with one output and return the output's name."""
        (name,) = self.add_many(op, inputs, [label], dtype)
        return name

    def add_many(
        self, op: Op, inputs: Sequence[str], labels: Sequence[str], dtype: DType | None = None
    ) -> list[str]:
        """Add a node and return the names of its outputs."""
        given = tuple(self.tensors[name] for name in inputs)
        guess = tuple(Tensor("guess", (), dtype or DType.FLOAT32) for _ in labels)
        types = infer_float(op, Operands(given, guess))
        index = len(self.nodes)
        names = []
        for label, made in zip(labels, types, strict=True):
            name = self._unused(label or self.label or f"{op.name}_{index}:out")
            self.tensors[name] = Tensor(name, made.shape, made.dtype)
            names.append(name)
        self.nodes.append(Node(f"{op.name}_{index}", op, tuple(inputs), tuple(names)))
        return names

    def broadcast(self, values: Sequence[Value]) -> list[str]:
        """Return tensors of one rank, so that transposes can move behind what reads them."""
        rank = max(len(self.shape(value)) for value in values)
        found = []
        for value in values:
            shape = self.shape(value)
            full = (1,) * (rank - len(shape)) + shape
            if not isinstance(value, str):
                found.append(self.constant(value.reshape(full)))
            else:
                found.append(value if full == shape else self.add(Reshape(full), [value]))
        return found

    def transposed(self, name: str, perm: Sequence[int]) -> str:
        """Return ``name`` with its axes permuted; nothing is added if they stay."""
        order = tuple(int(axis) for axis in perm)
        if order == tuple(range(len(order))):
            return name
        return self.add(Transpose(order), [name], f"{name}:{order}")

    def channels_last(self, name: str) -> str:
        """Return a map (N, C, ...) as (N, ..., C)."""
        rank = len(self.tensors[name].shape)
        return self.transposed(name, (0, *range(2, rank), 1))

    def channels_first(self, name: str) -> str:
        """Return a map (N, ..., C) as (N, C, ...)."""
        rank = len(self.tensors[name].shape)
        return self.transposed(name, (0, rank - 1, *range(1, rank - 1)))

    def rounded(self, name: str, quant: Quant) -> str:
        """Return a tensor of the values of ``name`` that carries ``quant``."""
        tensor = self.tensors[name]
        if tensor.quant == quant:
            return name
        if tensor.quant is None and not tensor.is_constant:
            self.tensors[name] = replace(tensor, quant=quant)
            return name
        copy = self.add(Relu(Activation.NONE), [name])
        self.tensors[copy] = replace(self.tensors[copy], quant=quant)
        return copy

    def graph(self, name: str, inputs: Sequence[str], outputs: Mapping[str, str]) -> Graph:
        """Return the graph.

        Args:
            name: its name.
            inputs: names of its inputs.
            outputs: the tensors to return, by the names that they shall carry.

        Raises:
            ModelError: E205 without inputs, or for outputs that are inputs or each other.
        """
        made = {one for node in self.nodes for one in node.outputs}
        for wanted, tensor in outputs.items():
            if tensor not in made:
                raise ModelError("E205", f'graph output "{short(wanted)}" is not computed')
        if not inputs or not outputs or len(set(outputs.values())) < len(outputs):
            raise ModelError("E205", "the graph needs inputs, and outputs that differ")
        renamed = {tensor: wanted for wanted, tensor in outputs.items()}
        for taken in set(outputs) & set(self.tensors) - set(renamed):
            renamed[taken] = self._unused(f"{taken}_inner")
        nodes = tuple(
            replace(
                node,
                inputs=tuple(renamed.get(one or "", one) for one in node.inputs),
                outputs=tuple(renamed.get(one, one) for one in node.outputs),
            )
            for node in self.nodes
        )
        tensors = {
            renamed.get(one, one): replace(tensor, name=renamed.get(one, one))
            for one, tensor in self.tensors.items()
        }
        ports = tuple(renamed.get(one, one) for one in inputs)
        graph = Graph(name, nodes, tensors, ports, tuple(outputs))
        return graph.with_nodes(graph.nodes)

    def _unused(self, name: str) -> str:
        base, copy = name, 0
        while name in self.tensors:
            copy += 1
            name = f"{base}_{copy}"
        return name


@dataclass(frozen=True)
class OnnxNode:
    """One node of the file, with its inputs resolved."""

    kind: str
    index: int
    opset: int
    names: tuple[str, ...]
    inputs: tuple[Value | None, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    build: Builder

    @property
    def where(self) -> str:
        """Return the node's place for a message."""
        return f'{self.kind} at #{self.index} "{short(self.outputs[0]) if self.outputs else "?"}"'

    def value(self, index: int) -> Value:
        """Return a required input."""
        value = self.inputs[index] if index < len(self.inputs) else None
        if value is None:
            raise UnsupportedError(f"input {index} is missing")
        return value

    def tensor(self, index: int) -> str:
        """Return a required input as a tensor, made from a constant where it is one."""
        value = self.value(index)
        return value if isinstance(value, str) else self.build.constant(value)

    def known(self, index: int) -> Array | None:
        """Return an optional input that must be constant, ``None`` if it is absent."""
        value = self.inputs[index] if index < len(self.inputs) else None
        if isinstance(value, str):
            raise UnsupportedError(f"input {index} is computed; it must be constant")
        if value is not None and value.size > 1 and not _is_finite(value):
            name = self.names[index]
            raise ModelError(
                "E216",
                "it holds values that are not finite (NaN or infinite)",
                where=f'tensor "{short(name)}"' if name else self.where,
                hints=["find the training step or the conversion that made them, and export again"],
            )
        return value

    def needed(self, index: int) -> Array:
        """Return a required constant input."""
        value = self.known(index)
        if value is None:
            raise UnsupportedError(f"input {index} is missing")
        return value

    def weight_quant(self, axis: int) -> Quant | None:
        """Return the quantisation that the weights had in the file, channels along ``axis``."""
        quant = self.build.quants.get(self.names[1])
        return quant if quant is None or quant.axis is None else replace(quant, axis=axis)

    def shape(self, index: int = 0) -> tuple[int, ...]:
        """Return the shape of an input."""
        return self.build.shape(self.value(index))

    def integers(self, name: str, index: int | None = None) -> list[int] | None:
        """Return integers that are an attribute, or an input in later opsets."""
        if name in self.attributes:
            value = self.attributes[name]
            return [int(v) for v in value] if isinstance(value, list | tuple) else [int(value)]
        if index is None or self.known(index) is None:
            return None
        return [int(v) for v in self.needed(index).reshape(-1)]

    def axis(self, axis: int, rank: int | None = None) -> int:
        """Return an axis counted from the front."""
        rank = len(self.shape()) if rank is None else rank
        if not -rank <= axis < rank:
            raise UnsupportedError(f"axis {axis} of a tensor of rank {rank}")
        return axis % rank

    def error(self, why: str) -> ModelError:
        """Return the error for a node that is not legal."""
        return ModelError("E206", why, where=self.where)


def _is_finite(values: Array) -> bool:
    return values.dtype.kind != "f" or bool(np.isfinite(values).all())


def elements(shape: Sequence[int]) -> int:
    """Return the number of elements of ``shape``."""
    return math.prod(shape)


def refuse_all(refused: Sequence[str], total: int, hints: Sequence[str] = ()) -> None:
    """Raise E210 with every operator of ``total`` that was refused, if any was.

    Args:
        refused: one line per operator, with its place and the reason.
        total: number of operators.
        hints: what else would help.
    """
    if not refused:
        return
    more = len(refused) - _MAX_LISTED
    listed = [*refused[:_MAX_LISTED], *([f"and {more} more"] if more > 0 else [])]
    raise ModelError(
        "E210",
        f"{len(refused)} of {total} operators are not supported: " + "; ".join(listed),
        numbers={"unsupported": len(refused), "operators": total},
        hints=["tessera ops", *hints],
    )
