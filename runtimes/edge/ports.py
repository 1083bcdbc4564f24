"""The inputs and outputs of a network as numpy arrays."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Port:
    """An input or output.

    Attributes:
        name: as the model file calls it.
        shape: of one case, with its batch of 1.
        dtype: numpy's name of the element type.
        scale: real value of a step, 0 for values that are not quantised.
        zero_point: the integer that means 0.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float = 0.0
    zero_point: int = 0

    @property
    def case(self) -> tuple[int, ...]:
        """Return the shape of one case without its batch of 1."""
        return self.shape[1:] if self.shape[:1] == (1,) else self.shape

    def quantize(self, values: Array) -> Array:
        """Return real values as this port's integers: rounded to nearest and saturated."""
        if not self.scale:
            return np.asarray(values, self.dtype)
        limits = np.iinfo(self.dtype)
        steps = np.round(np.asarray(values, np.float64) / self.scale) + self.zero_point
        return np.clip(steps, limits.min, limits.max).astype(self.dtype)

    def dequantize(self, values: Array) -> Array:
        """Return this port's values as float32 real values."""
        if not self.scale:
            return values
        return ((values.astype(np.float64) - self.zero_point) * self.scale).astype(np.float32)

    def cases(self, values: Array) -> Array:
        """Return ``values``, one case or N of them, as a contiguous array (N, *case).

        Raises:
            ValueError: another shape or element type.
        """
        array = np.asarray(values)
        if array.shape == self.case:
            array = array[None]
        if array.shape[1:] != self.case:
            wanted = " x ".join(map(str, self.case)) or "a scalar"
            raise ValueError(f'input "{self.name}" needs (N, {wanted}), not {array.shape}')
        if array.dtype != np.dtype(self.dtype):
            hint = "; predict() takes real values" if self.scale else ""
            raise ValueError(f'input "{self.name}" needs {self.dtype}, not {array.dtype}{hint}')
        return np.ascontiguousarray(array)


@dataclass(frozen=True)
class Package:
    """What ``network.json`` says: the ports, and all facts of it."""

    folder: Path
    facts: Mapping[str, Any]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    @property
    def model(self) -> str:
        """Return the path of the model file that an engine executes."""
        return str(self.folder / self.facts["model"])


def read_package(folder: Path | None) -> Package:
    """Return the package in ``folder``, by default the one that this file lies in."""
    folder = folder or Path(__file__).parent
    facts = json.loads((folder / "network.json").read_text(encoding="utf-8"))
    ports = [
        tuple(Port(**{**port, "shape": tuple(port["shape"])}) for port in facts[kind])
        for kind in ("inputs", "outputs")
    ]
    return Package(folder, facts, *ports)


def same_count(ports: Sequence[Port], inputs: Sequence[Array]) -> tuple[list[Array], int]:
    """Return each port's cases and how many they are.

    Raises:
        ValueError: not one array per port, or arrays of different numbers of cases.
    """
    if len(inputs) != len(ports):
        raise ValueError(f"{len(ports)} inputs are needed, not {len(inputs)}")
    arrays = [port.cases(value) for port, value in zip(ports, inputs, strict=True)]
    counts = {len(array) for array in arrays}
    if len(counts) != 1:
        raise ValueError(f"inputs differ in their number of cases: {sorted(counts)}")
    return arrays, counts.pop()


def predict(network: Any, values: Sequence[Array]) -> tuple[Array, ...]:
    """Return real-valued outputs of real-valued inputs: quantise, run, dequantise."""
    pairs: Iterable[tuple[Port, Array]] = zip(network.inputs, values, strict=True)
    outputs = network.run(*(port.quantize(value) for port, value in pairs))
    return tuple(port.dequantize(y) for port, y in zip(network.outputs, outputs, strict=True))


def stacked(ports: Sequence[Port], rows: Sequence[Sequence[Array]]) -> tuple[Array, ...]:
    """Return the outputs of N cases as one array (N, *case) per port."""
    columns = [[row[i] for row in rows] for i in range(len(ports))]
    return tuple(
        np.stack([np.asarray(y, port.dtype).reshape(port.case) for y in column])
        if column
        else np.empty((0, *port.case), port.dtype)
        for port, column in zip(ports, columns, strict=True)
    )
