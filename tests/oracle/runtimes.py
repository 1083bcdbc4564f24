"""Independent runtimes that execute .tflite files: the truth our interpreter is held against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from toolchain.ir import Array

_ARENA_BYTES = 16 * 2**20


class RefusedError(Exception):
    """The runtime does not take this file."""


class Micro:
    """TFLite Micro with its reference kernels (the ``tflite-micro`` wheel)."""

    def __init__(self, data: bytes) -> None:
        runtime = pytest.importorskip("tflite_micro.python.tflite_micro.runtime")
        try:
            self._interpreter = runtime.Interpreter.from_bytes(data, arena_size=_ARENA_BYTES)
        except RuntimeError as error:
            raise RefusedError(str(error)) from None

    def run(self, inputs: Sequence[Array], outputs: int) -> list[Array]:
        """Return the outputs for one case."""
        for index, values in enumerate(inputs):
            self._interpreter.set_input(values, index)
        try:
            self._interpreter.invoke()
        except RuntimeError as error:
            raise RefusedError(str(error)) from None
        return [self._interpreter.get_output(index) for index in range(outputs)]


class Reference:
    """TFLite with its reference kernels (the ``ai-edge-litert`` wheel); keeps every tensor."""

    def __init__(self, data: bytes, kernels: str = "BUILTIN_REF") -> None:
        litert = pytest.importorskip("ai_edge_litert.interpreter")
        try:
            self._interpreter = litert.Interpreter(
                model_content=data,
                experimental_op_resolver_type=litert.OpResolverType[kernels],
                experimental_preserve_all_tensors=True,
            )
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise RefusedError(str(error)) from None

    def run(self, inputs: Sequence[Array], outputs: int) -> list[Array]:
        """Return the outputs for one case."""
        for details, values in zip(self._interpreter.get_input_details(), inputs, strict=True):
            self._interpreter.set_tensor(details["index"], values)
        self._interpreter.invoke()
        details = self._interpreter.get_output_details()[:outputs]
        return [self._interpreter.get_tensor(one["index"]) for one in details]

    def trace(self) -> Mapping[str, Array]:
        """Return every tensor of the last run by name."""
        details = self._interpreter.get_tensor_details()
        return {one["name"]: self._interpreter.get_tensor(one["index"]) for one in details}
