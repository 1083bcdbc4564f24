"""Resource variables of a ``.tflite`` file: handles, reads and writes become states of the graph.

Semantics: TensorFlow Lite Micro. A variable is known by container and name; CALL_ONCE runs another
subgraph before the first inference, here one that may only give variables constant values; one
that is never given a value is zero. Windows over time, which files join from
a variable and new rows, become `Shift` later (`toolchain.passes.fuse_delay_lines`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from toolchain.errors import ModelError
from toolchain.importers.flatbuffer import Scalars, Table, check, corrupt
from toolchain.importers.tflite_file import integers, operators, text
from toolchain.importers.tflite_tensors import Tensors
from toolchain.ir import Array, Node, State, Tensor
from toolchain.ops import Assign, Reshape

_NAMES = Table("VarHandleOptions", vectors={0: Scalars(1), 1: Scalars(1)})
_ONCE = Table("CallOnceOptions", scalars={0: 4})
_Found = tuple[int, str, Any]


class Variables:
    """Variables, read operator by operator.

    Args:
        model: accessor of the file.
        data: the file.
        tensors: of the main subgraph.

    Attributes:
        nodes: reads as views, by place in the file.
    """

    def __init__(self, model: Any, data: bytes, tensors: Tensors) -> None:
        self._model, self._data, self._tensors = model, data, tensors
        self._handles: dict[int, str] = {}
        self._initial: dict[str, Array] = {}
        self._states: dict[str, Tensor] = {}
        self._nexts: dict[str, Tensor] = {}
        self._values: dict[str, Tensor] = {}
        self._outputs: list[Tensor] = []
        self.nodes: list[tuple[int, Node]] = []

    def take(self, found: Iterable[_Found]) -> list[_Found]:
        """Read the operators that deal with variables; return the others."""
        others = []
        for one in found:
            index, code, raw = one
            if code == "CALL_ONCE":
                self._call_once(raw, f"operator #{index} CALL_ONCE")
            elif code == "VAR_HANDLE":
                self._handles.update(_handle(raw, self._data))
            elif code == "READ_VARIABLE":
                self._read(index, raw)
            elif code == "ASSIGN_VARIABLE":
                self._assign(raw)
            else:
                others.append(one)
        return others

    @property
    def tensors(self) -> Iterator[Tensor]:
        """Yield the tensors that are not in the file, and those that reads and writes name."""
        for name, state in self._states.items():
            if name in self._values:
                yield state
                yield self._values[name]
                yield self._nexts[name]
            else:
                yield replace(state, data=self._start(name))
        yield from self._outputs

    def updates(self) -> Iterator[Node]:
        """Yield the nodes that write the variables, behind all that read them."""
        for name, value in self._values.items():
            state = self._states[name]
            names = (state.name, value.name)
            yield Node(f"assign_{state.name}", Assign(), names, (self._nexts[name].name,))

    def states(self) -> tuple[State, ...]:
        """Return the states of the graph."""
        return tuple(
            State(self._states[name].name, self._nexts[name].name, self._start(name))
            for name in self._values
        )

    def _start(self, name: str) -> Array:
        state = self._states[name]
        given = self._initial.get(name)
        if given is None:
            return np.zeros(state.shape, state.dtype.numpy)
        if given.shape != state.shape or given.dtype != state.dtype.numpy:
            raise _refuse(f'"{name}" starts with another shape or type than it is read with')
        return given

    def _state(self, name: str, like: Tensor) -> Tensor:
        if name not in self._states:
            own = self._tensors.unique(name)
            self._states[name] = replace(like, name=own, data=None)
            self._nexts[name] = replace(like, name=self._tensors.unique(f"{own}.next"), data=None)
        state = self._states[name]
        if (state.shape, state.dtype) != (like.shape, like.dtype):
            raise _refuse(f'"{name}" changes its shape or type', f'tensor "{like.name}"')
        return state

    def _read(self, index: int, raw: Any) -> None:
        name, (output,) = self._handle_of(raw, 1), _ends(raw, outputs=1)
        tensor = self._tensors[output]
        state = self._state(name, tensor)
        source = self._values.get(name, state)
        node = Node(f"read_{index}", Reshape(tensor.shape), (source.name,), (tensor.name,))
        self.nodes.append((index, node))
        self._outputs.append(tensor)

    def _assign(self, raw: Any) -> None:
        name = self._handle_of(raw, 2)
        value = self._tensors[integers(raw.InputsAsNumpy())[1]]
        self._state(name, value)
        self._values[name] = value

    def _handle_of(self, raw: Any, count: int) -> str:
        inputs = integers(raw.InputsAsNumpy())
        if len(inputs) != count or inputs[0] not in self._handles:
            raise corrupt("a variable is used without its handle")
        return self._handles[inputs[0]]

    def _call_once(self, raw: Any, where: str) -> None:
        import tflite

        table = raw.BuiltinOptions()
        options = tflite.CallOnceOptions()
        if raw.BuiltinOptionsType() != tflite.BuiltinOptions.CallOnceOptions or table is None:
            raise corrupt("CALL_ONCE names no subgraph")
        check(self._data, _ONCE, table.Pos)
        options.Init(table.Bytes, table.Pos)
        index = options.InitSubgraphIndex()
        if not 0 < index < self._model.SubgraphsLength():
            raise corrupt(f"there is no subgraph {index}")
        subgraph = self._model.Subgraphs(index)
        tensors = Tensors(self._model, subgraph, self._data)
        handles: dict[int, str] = {}
        for code, one in operators(self._model, subgraph):
            if code == "VAR_HANDLE":
                handles.update(_handle(one, self._data))
                continue
            inputs = integers(one.InputsAsNumpy())
            legal = code == "ASSIGN_VARIABLE" and len(inputs) == 2 and inputs[0] in handles
            if not legal or tensors[inputs[1]].data is None:
                raise _refuse(f"the initialisation computes: {code}", where)
            self._initial[handles[inputs[0]]] = tensors[inputs[1]].values


def _handle(raw: Any, data: bytes) -> dict[int, str]:
    """Return output tensor and name of a VAR_HANDLE."""
    import tflite

    (output,), table = _ends(raw, outputs=1), raw.BuiltinOptions()
    if raw.BuiltinOptionsType() != tflite.BuiltinOptions.VarHandleOptions or table is None:
        raise corrupt("VAR_HANDLE names no variable")
    check(data, _NAMES, table.Pos)
    options = tflite.VarHandleOptions()
    options.Init(table.Bytes, table.Pos)
    parts = (text(options.Container()), text(options.SharedName()))
    return {output: "/".join(part for part in parts if part) or "variable"}


def _ends(raw: Any, outputs: int) -> Sequence[int]:
    found = integers(raw.OutputsAsNumpy())
    if len(found) != outputs:
        raise corrupt("an operator on a variable has not the outputs it needs")
    return found


def _refuse(why: str, where: str | None = None) -> ModelError:
    return ModelError("E206", why, where=where)
