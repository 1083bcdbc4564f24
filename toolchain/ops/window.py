"""Windows: which part of an input a part of the output needs.

Patching, streaming, in-place execution and buffer overlap are all computed from these maps, so a
new operator with a window can be tiled without a change to the planner. A window holds one map per
axis of the input, in terms of the output's axis of the same number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class AxisMap(Protocol):
    """From a half-open output range to the half-open input range it needs, along one axis."""

    def needs(self, low: int, high: int) -> tuple[int, int]:
        """Return the input range that outputs ``[low, high)`` need, not clipped to the input."""
        ...


@dataclass(frozen=True)
class Slide:
    """A sliding kernel: output ``y`` needs inputs ``y*stride - pad`` to ``... + extent``.

    Attributes:
        extent: kernel size with dilation, ``(k - 1) * dilation + 1``.
        stride: input step per output step.
        pad: padding before the first input.
    """

    extent: int = 1
    stride: int = 1
    pad: int = 0

    def needs(self, low: int, high: int) -> tuple[int, int]:
        """See `AxisMap.needs`."""
        return low * self.stride - self.pad, (high - 1) * self.stride - self.pad + self.extent


@dataclass(frozen=True)
class Whole:
    """Every output needs the whole axis of ``size`` inputs."""

    size: int

    def needs(self, low: int, high: int) -> tuple[int, int]:
        """See `AxisMap.needs`."""
        del low, high
        return 0, self.size


@dataclass(frozen=True)
class Spread:
    """A transposed sliding kernel: input ``i`` adds to outputs from ``i * stride - pad`` on.

    Attributes:
        extent: kernel size, how many outputs each input adds to.
        stride: output step per input step.
        pad: outputs cut off in front.
    """

    extent: int
    stride: int
    pad: int = 0

    def needs(self, low: int, high: int) -> tuple[int, int]:
        """See `AxisMap.needs`."""
        first = -((self.extent - 1 - self.pad - low) // self.stride)
        return first, (high - 1 + self.pad) // self.stride + 1


@dataclass(frozen=True)
class Resample:
    """Resampling: output ``y`` needs inputs ``lower[y]`` to ``upper[y]``, both included.

    Attributes:
        lower: first input of every output; never decreases.
        upper: last input of every output; never decreases.
    """

    lower: tuple[int, ...]
    upper: tuple[int, ...]

    def needs(self, low: int, high: int) -> tuple[int, int]:
        """See `AxisMap.needs`."""
        return self.lower[low], self.upper[high - 1] + 1


IDENTITY = Slide()


@dataclass(frozen=True)
class Window:
    """What one input of a node must provide; one map per axis of that input."""

    axes: tuple[AxisMap, ...]

    @property
    def elementwise(self) -> bool:
        """Tell whether each output element needs only the input element at its own place."""
        return all(axis == IDENTITY for axis in self.axes)


def whole(shape: tuple[int, ...]) -> Window:
    """Return the window of an operator that needs all of an input of ``shape`` at once."""
    return Window(tuple(Whole(size) for size in shape))


def broadcast(shape: tuple[int, ...], out_shape: tuple[int, ...]) -> Window:
    """Return the window of an elementwise operator on an input that may be broadcast.

    An input of lower rank, or with an axis of size 1 where the output is larger, is needed whole
    along that axis.
    """
    if len(shape) != len(out_shape):
        return whole(shape)
    pairs = zip(shape, out_shape, strict=True)
    return Window(tuple(IDENTITY if size == out else Whole(size) for size, out in pairs))
