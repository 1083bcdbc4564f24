"""A network that a TFLite runtime executes, called as a compiled one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .ports import Array, predict, read_package, same_count, stacked


class Network:
    """An interpreter of ai-edge-litert or, where that is not installed, of tflite-runtime.

    Args:
        folder: holds ``network.json`` and the model; the package's own by default.
    """

    stateful = True

    def __init__(self, folder: Path | None = None) -> None:
        package = read_package(folder)
        self.inputs, self.outputs = package.inputs, package.outputs
        self._interpreter = interpreter_class()(
            model_path=package.model, num_threads=os.cpu_count() or 1
        )
        self._interpreter.allocate_tensors()
        self._in = [detail["index"] for detail in self._interpreter.get_input_details()]
        self._out = [detail["index"] for detail in self._interpreter.get_output_details()]

    def run(self, *inputs: Array) -> tuple[Array, ...]:
        """Run one case or a batch, case by case: arrays (N, ...) in and out.

        Raises:
            ValueError: a wrong number of arrays, shape or element type.
        """
        arrays, count = same_count(self.inputs, inputs)
        rows = []
        for i in range(count):
            for index, port, array in zip(self._in, self.inputs, arrays, strict=True):
                self._interpreter.set_tensor(index, array[i].reshape(port.shape))
            self._interpreter.invoke()
            rows.append([self._interpreter.get_tensor(index) for index in self._out])
        return stacked(self.outputs, rows)

    def predict(self, *values: Array) -> tuple[Array, ...]:
        """Run on real values and return real values; see `run`."""
        return predict(self, values)

    def reset(self) -> None:
        """Forget all calls: variables take their initial values."""
        self._interpreter.reset_all_variables()


def interpreter_class() -> Any:
    """Return the Interpreter of the TFLite runtime that is installed.

    Raises:
        ImportError: neither is.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        from tflite_runtime.interpreter import Interpreter
    return Interpreter
