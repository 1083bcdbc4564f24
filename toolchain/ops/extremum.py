"""What MINIMUM and MAXIMUM share: a comparison of raw values."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array
from toolchain.numerics import Int64
from toolchain.ops.binary import Binary, Elementwise


class Extremum(Binary):
    """The smaller or larger of two elements.

    As in TensorFlow Lite ``reference_ops::MaximumMinimumBroadcastSlow``, raw values are compared:
    inputs and output are taken to have one quantisation.
    """

    comparison: ClassVar[str]

    def evaluate(self, operands: Operands, a: Int64, b: Int64) -> Array:
        """See `Binary.evaluate`."""
        chosen = np.minimum(a, b) if self.comparison == "<" else np.maximum(a, b)
        return chosen.astype(operands.output.dtype.numpy)

    def element(self, operands: Operands) -> Elementwise:
        """See `Binary.element`."""
        del operands
        return Elementwise("extremum", {"comparison": self.comparison})
