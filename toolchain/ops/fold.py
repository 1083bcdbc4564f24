"""Global pooling, folded: the input comes row by row, sums per channel are all that is kept."""

from __future__ import annotations

from collections.abc import Mapping

from toolchain.ir.tensor import Tensor
from toolchain.ops.base import Lowered, Number


def lower_fold(x: Tensor, start: int, finish: Mapping[str, Number]) -> Lowered:
    """Return the fold of the map ``x`` (1, H, W, C) to one value per channel.

    Args:
        x: the input.
        start: what each sum starts from.
        finish: literals that turn a sum into an output, see the template.
    """
    _, rows, width, channels = x.shape
    sizes = {"rows": rows, "width": width, "channels": channels, "start": start}
    sizes["count"] = rows * width
    return Lowered("global_pool", {**sizes, **finish}, scratch_bytes=4 * channels)
