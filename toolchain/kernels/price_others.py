"""What kernels take that neither slide over a map nor are fully connected: prices of their counts.

Counted as in `toolchain.kernels.cost`; means over random inputs where the work depends on values.
Sums of a kernel's layers are within a sixth, but for transposed convolutions and matrix products:
what GCC keeps in registers there differs by shape, so that a layer is known within a factor of two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from toolchain.kernels import counts
from toolchain.ops.base import Lowered, Number

_Count = Callable[[Mapping[str, Number]], tuple[float, ...]]
_COUNTS: Mapping[str, _Count] = {
    "arg_max": counts.compared,
    "assign": counts.shifted,
    "batch_matmul": counts.products,
    "batch_matmul_16": counts.products,
    "copy": counts.moved,
    "extremum": counts.nested,
    "gather": counts.picked,
    "global_pool": counts.pooled,
    "layer_norm": counts.rows,
    "leaky_relu_16": counts.elements,
    "log_softmax": counts.rows,
    "log_softmax_float": counts.rows,
    "logistic_16": counts.elements,
    "lstm_16": counts.cells,
    "lstm_16_dsp": counts.cells,
    "prelu": counts.nested,
    "reduce_extremum": counts.extremes,
    "resize_bilinear": counts.interpolated,
    "resize_bilinear_float": counts.interpolated,
    "resize_nearest": counts.repeated,
    "shift": counts.shifted,
    "softmax": counts.rows,
    "softmax_16": counts.rows,
    "softmax_float": counts.rows,
    "svdf": counts.filters,
    "svdf_dsp": counts.filters,
    "table_16": counts.elements,
    "tanh_16": counts.elements,
    "transpose_conv": counts.unfolded,
    "transpose_conv_16x8": counts.unfolded,
}
# Of moves, the last seven prices, see `counts`: copies in place, then calls.
_MOVES = 0.0, 0.23, 0.55, 2.0, 30.0, 0.28, 1.15
# ", wide" where activations have 16 bits and the kernel has one name for both.
OTHERS: Mapping[str, tuple[float, ...]] = {
    "arg_max": (8.6, 11.6),
    "assign": (24.0, 0.25, 1.12),
    "batch_matmul": (16.0, 8.2, 1.8),
    "batch_matmul_16": (20.0, 6.0, 1.7),
    "copy": (0.75, 5.4, 4.5, *_MOVES),
    "extremum": (5.3, 8.0),
    "gather": (5.6, 4.5, 0.0, 0.25, 0.8, 0.1, 17.5, 0.38, 1.15),
    "global_pool": (20.0, 7.0, 30.0),
    "layer_norm": (140.0, 29.2),
    "layer_norm, wide": (117.0, 30.0),
    "leaky_relu_16": (19.5,),
    "log_softmax": (250.0, 38.5),
    "log_softmax_float": (390.0, 838.0),
    "logistic_16": (22.0,),
    "lstm_16": (440.0, 7.1),
    "lstm_16, wide": (640.0, 6.7),
    "lstm_16_dsp": (560.0, 0.95),
    "prelu": (10.3, 23.7),
    "reduce_extremum": (5.6, 6.3, 4.4),
    "resize_bilinear": (6.6, 25.5),
    "resize_bilinear_float": (7.6, 43.3),
    "resize_nearest": (4.4, *_MOVES),
    "shift": (24.0, 0.25, 1.12),
    "softmax": (95.0, 31.3),
    "softmax, wide": (141.0, 29.9),
    "softmax_16": (71.0, 42.4),
    "softmax_float": (0.0, 830.0),
    "svdf": (7.0, 33.5, 5.9, 7.1),
    "svdf_dsp": (11.0, 62.8, 0.2, 6.8),
    "table_16": (14.0,),
    "tanh_16": (19.3,),
    "transpose_conv": (48.0, 8.1),
    "transpose_conv_16x8": (35.0, 8.2),
}


def other(name: str, lowered: Lowered, known: Mapping[str, tuple[float, ...]] = OTHERS) -> int:
    """Estimate a node with the kernel of that name; 0 if nothing is known of it."""
    if name not in known:
        return 0
    n, taps = lowered.numbers, lowered.taps
    if taps is not None:
        n = {**n, "calls": taps.batch * taps.out_rows}
    wide = n.get("wide") is True or n.get("bits") == 16
    prices = known.get(f"{name}, wide" if wide else name, known[name])
    pairs = zip(prices, _COUNTS[name](n), strict=True)
    return max(1, round(sum(price * times for price, times in pairs)))
