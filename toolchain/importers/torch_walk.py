"""One pass over a program of ATen operators, from its first call to its last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toolchain.errors import ModelError
from toolchain.importers.aten import AtenNode
from toolchain.importers.aten_readers import READERS
from toolchain.importers.onnx_builder import Builder, UnsupportedError, Value, refuse_all
from toolchain.importers.onnx_file import without_nan
from toolchain.ir import Array, Graph

_DEFECTS = (ValueError, TypeError, KeyError, IndexError, OverflowError, RuntimeError)


def read_program(program: Any, name: str) -> Graph:
    """Return the graph of an exported program, as it stands there.

    Raises:
        ModelError: E205 outputs that are not computed, E206 illegal operator, E207 shapes that
            are not fixed, E208 inputs that are not float32, E210 unsupported operators.
    """
    walk = _Walk(program)
    for index, node in enumerate(program.graph.nodes):
        if node.op == "call_function":
            walk.visit(index, node)
    refuse_all(walk.refused, walk.calls)
    return walk.graph(name)


class _Walk:
    """Values of the program's names as they become known."""

    def __init__(self, program: Any) -> None:
        self.program, self.build = program, Builder()
        self.refused: list[str] = []
        self.unknown: set[str] = set()  # results of refused calls
        self.values: dict[str, Any] = {}  # a value, or a list of an operator's several outputs
        self.inputs: list[str] = []
        self.calls = 0
        constants = _constants(program)
        for node in program.graph.nodes:
            if node.op == "placeholder":
                self._placeholder(node, constants)

    def _placeholder(self, node: Any, constants: Mapping[str, Array]) -> None:
        if node.name in constants:
            self.values[node.name] = constants[node.name]
            return
        shape, where = _shapes(node), f'input "{node.name}"'
        if str(getattr(node.meta.get("val"), "dtype", "")) != "torch.float32":
            raise ModelError("E208", "only float32 inputs are supported", where=where)
        self.values[node.name] = self.build.input(node.name, shape[0])
        self.inputs.append(node.name)

    def visit(self, index: int, node: Any) -> None:
        """Read one call."""
        self.calls += 1
        if any(one.name in self.unknown for one in node.all_input_nodes):
            self.unknown.add(node.name)
            return
        self.build.label = node.name
        try:
            self.values[node.name] = self._read(index, node)
        except UnsupportedError as error:
            why = f": {error}" if str(error) else ""
            self.refused.append(f'{op_name(node.target)} "{node.name}"{_place(node)}{why}')
            self.unknown.add(node.name)
        except _DEFECTS as error:
            raise ModelError(
                "E206", f"illegal operator: {error}", where=f'{op_name(node.target)} "{node.name}"'
            ) from None

    def _read(self, index: int, node: Any) -> Any:
        if getattr(node.target, "__name__", "") == "getitem":
            whole, place = node.args
            made = self.values[whole.name]
            return made[place] if isinstance(made, list) else made
        used = [self.values[one.name] for one in node.all_input_nodes]
        if not any(_computed(value) for value in used):
            return self._folded(node)
        reader = READERS.get(op_name(node.target))
        if reader is None:
            raise UnsupportedError("")
        call = AtenNode(
            op_name(node.target), index, node.name, self._arguments(node), _shapes(node), self.build
        )
        made = list(reader(call))
        several = isinstance(node.meta.get("val"), list | tuple)
        return made if several else made[0]

    def _arguments(self, node: Any) -> dict[str, Any]:
        """Return the arguments of a call by the schema's names."""
        schema = node.target._schema.arguments
        found = {one.name: one.default_value for one in schema if one.has_default_value()}
        given = {one.name: value for one, value in zip(schema, node.args, strict=False)}
        return {**found, **{n: self._value(v) for n, v in {**given, **node.kwargs}.items()}}

    def _value(self, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [self._value(one) for one in value]
        return self.values[value.name] if hasattr(value, "all_input_nodes") else value

    def _folded(self, node: Any) -> Any:
        """Compute a call of constants alone with PyTorch itself."""
        import torch

        if not isinstance(node.target, torch._ops.OpOverload) or node.target.namespace != "aten":
            raise UnsupportedError("")

        def tensor(value: Any) -> Any:
            if isinstance(value, list | tuple):
                return [tensor(one) for one in value]
            if not hasattr(value, "all_input_nodes"):
                return value
            return torch.from_numpy(np.array(self.values[value.name]))

        keywords = {key: tensor(value) for key, value in node.kwargs.items()}
        made = node.target(*[tensor(value) for value in node.args], **keywords)
        return [numbers(one) for one in made] if isinstance(made, list | tuple) else numbers(made)

    def graph(self, name: str) -> Graph:
        """Return the graph as it was read."""
        outputs = {}
        for wanted in self.program.graph_signature.user_outputs:
            value = self.values.get(wanted)
            if not isinstance(value, str):
                raise ModelError("E205", f'graph output "{wanted}" is not computed')
            outputs[wanted] = value
        return self.build.graph(name, self.inputs, outputs)


def numbers(tensor: Any) -> Array:
    """Return the values of a PyTorch tensor; narrower floats become float32."""
    import torch

    values = tensor.detach().cpu()
    return np.asarray((values.to(torch.float32) if values.is_floating_point() else values).numpy())


def _constants(program: Any) -> dict[str, Array]:
    """Return parameters, buffers and lifted constants by the names of their placeholders."""
    signature = program.graph_signature
    places = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    known = {**program.constants, **program.state_dict}
    return {
        name: without_nan(numbers(known[place]), f'tensor "{place}"')
        for name, place in places.items()
        if place in known
    }


def _computed(value: Any) -> bool:
    parts: Sequence[Value] = value if isinstance(value, list) else [value]
    return any(isinstance(part, str) for part in parts)


def op_name(target: Any) -> str:
    """Return the name of an ATen operator without namespace and overload."""
    parts = str(target).split(".")
    return parts[1] if len(parts) > 1 and parts[0] == "aten" else str(target)


def _place(node: Any) -> str:
    """Return the module that makes a call, for a message."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [str(entry[0]) for entry in stack.values()]
    return f" in {paths[-1].removeprefix('L__self___')}" if paths and paths[-1] else ""


def _shapes(node: Any) -> tuple[tuple[int, ...], ...]:
    """Return the shapes of a node's outputs.

    Raises:
        ModelError: E207 if one is not fixed.
    """
    value = node.meta.get("val")
    found = []
    for one in value if isinstance(value, list | tuple) else [value]:
        sizes = list(getattr(one, "shape", ()))
        if not all(type(size) is int for size in sizes):
            raise ModelError(
                "E207",
                f"shape {[str(size) for size in sizes]} is dynamic",
                where=f'"{node.name}"',
                hints=["export the module without dynamic_shapes"],
            )
        found.append(tuple(sizes))
    return tuple(found)
