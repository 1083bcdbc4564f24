"""A network in parts: some are compiled C, the others are executed by an engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import compiled, onnxruntime_engine, tflite_engine
from .ports import Array, predict, read_package, same_count

_KINDS = {
    "compiled": compiled.Network,
    "onnxruntime": onnxruntime_engine.Network,
    "tflite": tflite_engine.Network,
}


class Network:
    """The parts one after the other, with real numbers between them.

    A compiled part computes with integers: its inputs are quantised and its outputs dequantised as
    its ports say.

    Args:
        folder: holds ``network.json`` and a folder per part; the package's own by default.

    Raises:
        OSError: a library is missing or made for another machine.
    """

    def __init__(self, folder: Path | None = None) -> None:
        package = read_package(folder)
        self.inputs, self.outputs = package.inputs, package.outputs
        self._parts: list[tuple[Any, list[str], list[str]]] = [
            (_KINDS[one["by"]](package.folder / one["folder"]), one["reads"], one["makes"])
            for one in package.facts["parts"]
        ]
        self.stateful = any(network.stateful for network, _, _ in self._parts)

    def run(self, *inputs: Array) -> tuple[Array, ...]:
        """Run one case or a batch: arrays (N, ...) in and out, of the ports' element types.

        Raises:
            ValueError: a wrong number of arrays, shape or element type.
        """
        arrays, _ = same_count(self.inputs, inputs)
        ports = zip(self.inputs, arrays, strict=True)
        values = {port.name: port.dequantize(array) for port, array in ports}
        for network, reads, makes in self._parts:
            values.update(zip(makes, network.predict(*(values[n] for n in reads)), strict=True))
        return tuple(port.quantize(values[port.name]) for port in self.outputs)

    def predict(self, *values: Array) -> tuple[Array, ...]:
        """Run on real values and return real values; see `run`."""
        return predict(self, values)

    def reset(self) -> None:
        """Forget all calls: states take their initial values."""
        for network, _, _ in self._parts:
            network.reset()
