"""One operator of a ``.tflite`` file, with its tensors and options, ready to be read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from toolchain.errors import ModelError
from toolchain.importers.spelled import Chain
from toolchain.importers.tflite_file import short
from toolchain.importers.tflite_types import ACTIVATIONS
from toolchain.ir import DType, Operands, Tensor
from toolchain.numerics import Activation
from toolchain.ops import Op
from toolchain.ops.spatial import NO_PADS, Pads, same_pads

_MAX_PARAMETERS = 64  # elements of a constant that is an attribute, such as axes or paddings
_T = TypeVar("_T")
_FUSED = tuple(ACTIVATIONS.values())


@dataclass(frozen=True)
class Layer:
    """An operator of the file.

    Attributes:
        index: its place in the file.
        code: its name in the schema.
        options: the generated accessor of its options table, ``None`` if it has none.
        inputs: its tensors, ``None`` for an absent optional one.
        outputs: its tensors.
        legacy: its output was uint8, whose kernels round in ways of their own.
        open: axes of its first output whose size the file leaves open.
    """

    index: int
    code: str
    options: Any
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    legacy: bool = False
    open: frozenset[int] = frozenset()

    @property
    def where(self) -> str:
        """Return the operator's place for a message."""
        name = self.outputs[0].name if self.outputs else "?"
        return f'operator #{self.index} {self.code} "{short(name)}"'

    def refuse(self, why: str) -> ModelError:
        """Return the error for an operator whose operands or options are not legal."""
        return ModelError("E206", why, where=self.where)

    def require(self, condition: bool, why: str) -> None:
        """Raise E206 unless ``condition`` holds."""
        if not condition:
            raise self.refuse(why)

    def input(self, index: int) -> Tensor:
        """Return a required input."""
        tensor = self.inputs[index] if index < len(self.inputs) else None
        if tensor is None:
            raise self.refuse(f"input {index} is missing")
        return tensor

    def numbers(self, index: int, most: int = _MAX_PARAMETERS) -> tuple[int, ...]:
        """Return the elements of an input that is an attribute and must be constant."""
        tensor = self.input(index)
        if not tensor.is_constant:
            raise ModelError(
                "E207",
                f'"{tensor.name}" is computed: shapes must be known when compiling',
                where=self.where,
            )
        integral = tensor.dtype in (DType.INT32, DType.INT64)
        self.require(integral, f'"{tensor.name}" must hold integers')
        self.require(tensor.size <= most, f'"{tensor.name}" is too long')
        return tuple(int(value) for value in tensor.values.reshape(-1))

    def axis(self, axis: int, rank: int) -> int:
        """Return an axis counted from the front."""
        self.require(-rank <= axis < rank, f"axis {axis} of a tensor of rank {rank}")
        return axis % rank

    def positive(self, *values: int) -> tuple[int, ...]:
        """Return ``values``, which must be positive."""
        self.require(all(value > 0 for value in values), f"{list(values)} must be positive")
        return values

    def rank(self, index: int, rank: int) -> tuple[int, ...]:
        """Return the shape of an input that must have ``rank`` dimensions."""
        shape = self.input(index).shape
        self.require(len(shape) == rank, f"input {index} needs rank {rank}")
        return shape

    @property
    def activation(self) -> Activation:
        """Return the fused activation."""
        code = int(self.options.FusedActivationFunction())
        self.require(0 <= code < len(_FUSED), f"fused activation {code} is not supported")
        return _FUSED[code]

    @property
    def stride(self) -> tuple[int, int]:
        """Return the vertical and horizontal stride."""
        height, width = self.positive(self.options.StrideH(), self.options.StrideW())
        return height, width

    def pads(self, size: tuple[int, int], extent: tuple[int, int]) -> Pads:
        """Return the explicit padding for a kernel of ``extent`` on a map of ``size``."""
        padding = self.options.Padding()
        self.require(padding in (0, 1), f"padding {padding} is neither SAME nor VALID")
        return same_pads(size, extent, self.stride) if padding == 0 else NO_PADS


@dataclass(frozen=True)
class Reader:
    """How an operator is read.

    Attributes:
        read: makes the operator from a layer, or a chain of operators, each applied to what the
            one before it makes.
        options: name of its options table, empty for none.
        fewest: number of inputs that must be there.
        most: number of inputs that may be there.
        operands: which of them the node keeps; the others became attributes. All by default.
        weights: the input that may be quantised per channel.
        channels: the axis of its output channels.
        moves: it only moves elements, whatever they stand for.
        states: inputs that live on between inferences; the node also makes their next values.
    """

    read: Callable[[Layer], Op | Chain]
    options: str = ""
    fewest: int = 1
    most: int = 1
    operands: tuple[int, ...] | None = None
    weights: int | None = None
    channels: int = 0
    moves: bool = False
    states: tuple[int, ...] = ()

    def select(self, inputs: tuple[_T, ...]) -> tuple[_T, ...]:
        """Return the inputs that the node keeps."""
        if not self.operands:
            return inputs
        return tuple(inputs[i] for i in self.operands if i < len(inputs))


def operands(reader: Reader, layer: Layer) -> Operands:
    """Return the node's tensors, without absent inputs at the end."""
    kept = list(reader.select(layer.inputs))
    while kept and kept[-1] is None:
        kept.pop()
    return Operands(tuple(kept), layer.outputs)
