"""Sums and products of two tensors on the vector extension: four elements at a time."""

from __future__ import annotations

from dataclasses import dataclass

from toolchain.kernels import cost_mve
from toolchain.kernels.base import Isa, Specialised
from toolchain.kernels.loops import rounds
from toolchain.ops.base import Lowered


@dataclass(frozen=True)
class BinaryMve:
    """An elementwise operator of two int8 inputs, of any shapes that broadcast.

    Attributes:
        name: the template's name.
        operator: name of the portable kernel.
    """

    name: str
    operator: str
    isa: Isa = Isa.MVE

    def supports(self, lowered: Lowered) -> bool:
        """See `Kernel.supports`: the portable kernels serve 16-bit tensors, too."""
        return lowered.kernel == self.operator and lowered.numbers["bits"] == 8

    def specialise(self, lowered: Lowered) -> Specialised:
        """See `Kernel.specialise`: four elements are read before they are written."""
        inner = _innermost(lowered)
        numbers = {**lowered.numbers, "rest": inner % 4}
        return Specialised(
            numbers,
            lowered.tables,
            in_order=lowered.in_order,
            instructions=cost_mve.binary(self.operator, rounds(numbers["loops"]) // inner, inner),
        )


def _innermost(lowered: Lowered) -> int:
    """Return the rounds of the innermost loop."""
    match lowered.numbers["loops"]:
        case (*_, (int(count), _, _)):
            return count
        case other:
            raise TypeError(f"loops is {other!r}, not (count, step, step) of each")
