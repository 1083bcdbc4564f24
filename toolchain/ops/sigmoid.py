"""What LOGISTIC and TANH of int16 share: one table, interpolated."""

from __future__ import annotations

import numpy as np

from toolchain.interpolated import Scaling, sigmoid_table
from toolchain.ir.graph import Operands
from toolchain.ops.base import Lowered


def lower_sigmoid(kernel: str, operands: Operands, scaling: Scaling) -> Lowered:
    """Return the numbers of an int16 ``kernel`` that reads the sigmoid table."""
    numbers = {"size": operands.output.size, **scaling._asdict()}
    above_half = (sigmoid_table() - 2**15).astype(np.int16)
    return Lowered(kernel, numbers, {"table": above_half}, in_order=True)
