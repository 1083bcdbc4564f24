"""What portable kernels take on Armv6-M: counts of GCC 12's code at -O2 on an emulated Cortex-M0+.

Products of 32 bits alone, few registers, no loads from odd addresses: outputs that are rounded take
two to four times the instructions of a Cortex-M4, inner products a third to a half more.
"""

from __future__ import annotations

from toolchain.kernels.price import EDGE, LOOP, NINE, UNROLLED, PriceList, Prices, estimate
from toolchain.ops.base import Lowered

# GCC calls memcpy for few bytes as well, but where it knows that both ends are aligned.
_MOVES = 46.0, 1.2, 3.7, 0.0, 56.0, 0.33, 5.0
_LIST = PriceList(
    elements={
        "affine": 18.5, "add": 58.0, "mul": 51.0, "table": 5.5, "quantize": 300.0,
        "dequantize": 90.0, "requantize": 34.0, "squared_difference": 100.0,
    },
    walks={
        "conv2d": Prices(output=60, row=18, tap=12, product=12),
        "conv2d_w4": Prices(output=21, row=46, product=13.6),
        "conv2d_16x8": Prices(row=29.3, tap=5.2, product=14.6),
        "depthwise_conv2d": Prices(pixel=64, output=80, product=9.8),
        "depthwise_conv2d, padded": Prices(output=85, row=10, product=17.5),
        "depthwise_conv2d_w4": Prices(output=110, row=9, product=20),
        "depthwise_conv2d_16x8": Prices(output=51, row=15, product=15.8),
        "fully_connected": Prices(output=70, product=10),
        "fully_connected_w4": Prices(output=30, product=12.8),
        "fully_connected_16x8": Prices(output=30, product=13.2),
    },
    pools={
        ("average_pool2d", EDGE): Prices(29, 91, 0, 7.9),
        ("average_pool2d", UNROLLED): Prices(32, 0, 0, 5.1),
        ("average_pool2d", NINE): Prices(27, 0, 0, 10.8),
        ("average_pool2d", LOOP): Prices(29, 8.5, 0, 8.6),
        ("max_pool2d", EDGE): Prices(3, 34.6, 0, 9.7),
        ("max_pool2d", UNROLLED): Prices(30, 4.3, 0, 3.8),
        ("max_pool2d", NINE): Prices(24, 5.8, 0, 5.8),
        ("max_pool2d", LOOP): Prices(105, 8.9, 0, 8.7),
    },
    mean=(69.0, 7.0),
    others={
        "arg_max": (7.9, 16.6),
        "assign": (60.0, 0.33, 4.96),
        "batch_matmul": (53.0, 13.4, 0.9),
        "batch_matmul_16": (10.0, 23.0, 0.0),
        "copy": (0.75, 7.2, 6.0, *_MOVES),
        "extremum": (9.1, 12.7),
        "global_pool": (40.0, 9.0, 80.0),
        "layer_norm": (840.0, 137.0),
        "layer_norm, wide": (910.0, 141.0),
        "leaky_relu_16": (45.0,),
        "log_softmax": (900.0, 70.5),
        "log_softmax_float": (1470.0, 3105.0),
        "logistic_16": (34.0,),
        "lstm_16": (900.0, 8.9),
        "lstm_16, wide": (1450.0, 15.5),
        "resize_bilinear": (6.0, 48.0),
        "resize_bilinear_float": (53.0, 1180.0),
        "resize_nearest": (8.0, *_MOVES),
        "shift": (60.0, 0.33, 4.96),
        "softmax": (317.0, 68.8),
        "softmax, wide": (383.0, 73.2),
        "softmax_16": (55.0, 94.0),
        "softmax_float": (0.0, 3380.0),
        "svdf": (0.0, 103.0, 9.5, 9.8),
        "table_16": (20.0,),
        "tanh_16": (26.6,),
        "transpose_conv": (67.0, 13.2),
        "transpose_conv_16x8": (25.0, 23.0),
    },
    by_channel=1.58,
    folds=1.5,
)  # fmt: skip


def armv6m(lowered: Lowered) -> int:
    """Estimate the instructions of a portable kernel on a core of Armv6-M."""
    return estimate(lowered, _LIST)
