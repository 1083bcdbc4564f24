"""Global pooling, folded: the input comes row by row, sums per channel are all that is kept."""

from __future__ import annotations

from collections.abc import Mapping

from toolchain.ir.tensor import Tensor
from toolchain.ops.base import Lowered, Number

_NARROW = 256  # so many values of int8 have a sum of 16 bits


def lower_fold(x: Tensor, start: int, finish: Mapping[str, Number]) -> Lowered:
    """Return the fold of the map ``x`` (1, H, W, C) to one value per channel.

    Args:
        x: the input.
        start: what is added to each sum.
        finish: literals that turn a sum into an output, see the template.
    """
    _, rows, width, channels = x.shape
    sizes = {"rows": rows, "width": width, "channels": channels, "start": start}
    sizes["count"] = count = rows * width
    sizes["sum_bytes"] = each = 2 if count <= _NARROW else 4
    scratch = -(-each * channels // 4) * 4
    return Lowered("global_pool", {**sizes, **finish}, scratch_bytes=scratch)
