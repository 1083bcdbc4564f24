"""The kernel catalogue: which kernels exist and which one a node gets."""

from __future__ import annotations

from toolchain.kernels.base import Helper, Isa, Kernel, Portable, Specialised
from toolchain.kernels.conv_dsp import Conv1x1Dsp, Conv2dDsp, Packing
from toolchain.kernels.conv_mve import Conv1x1Mve, Conv2dMve
from toolchain.kernels.depthwise_column_dsp import DepthwiseColumnDsp
from toolchain.kernels.depthwise_dsp import DepthwiseDsp
from toolchain.kernels.depthwise_mve import DepthwiseInPlaceMve, DepthwiseMve
from toolchain.kernels.depthwise_pairs_dsp import DepthwisePairsDsp
from toolchain.kernels.depthwise_rolling_dsp import DepthwiseRollingDsp
from toolchain.kernels.fold_dsp import FullyConnectedFoldDsp
from toolchain.kernels.fold_mve import FullyConnectedFoldMve
from toolchain.kernels.fully_connected_dsp import (
    FullyConnectedApartDsp,
    FullyConnectedDsp,
    PixelDsp,
)
from toolchain.kernels.fully_connected_mve import FullyConnectedMve
from toolchain.kernels.map_mve import BinaryMve
from toolchain.kernels.parts_dsp import Conv2dParts
from toolchain.kernels.pools import AveragePool, MaxPool, Mean
from toolchain.kernels.recurrent_dsp import LstmDsp, SvdfDsp
from toolchain.kernels.runs import Conv2dRuns, FullyConnectedRuns
from toolchain.kernels.wide_dsp import WideConvDsp, WideDepthwiseDsp, WideFullyConnectedDsp
from toolchain.ops.base import Lowered

# Faster kernels per operator, best first; every operator also has its portable kernel.
_SPECIAL: tuple[Kernel, ...] = (
    Conv1x1Mve(),
    Conv2dMve(),
    DepthwiseMve(),
    DepthwiseInPlaceMve(),
    FullyConnectedMve(),
    FullyConnectedFoldMve(),
    BinaryMve("affine_mve", "affine"),
    BinaryMve("add_mve", "add"),
    BinaryMve("mul_mve", "mul"),
    # A product with the inverse of the number of inputs still divides such sums exactly.
    AveragePool("average_pool2d_mve", Isa.MVE, most=2048),
    MaxPool("max_pool2d_mve", Isa.MVE),
    Mean("mean_mve", Isa.MVE, most=1 << 24),
    PixelDsp(),
    Conv1x1Dsp(),
    Conv2dDsp(),
    Conv1x1Dsp("conv1x1_apart_dsp", packing=Packing.APART),
    Conv2dDsp("conv2d_apart_dsp", packing=Packing.APART),
    *(Conv2dParts(scratch) for scratch in (840, 768, 576, 456, 384, 336, 288, 240, 192, 144, 96)),
    DepthwiseColumnDsp(),
    Conv1x1Dsp("conv1x1_w4_dsp", packing=Packing.NIBBLES),
    Conv2dDsp("conv2d_w4_dsp", packing=Packing.NIBBLES),
    DepthwiseRollingDsp(),
    DepthwiseDsp(),
    DepthwisePairsDsp(),
    DepthwisePairsDsp("depthwise_pairs_lean_dsp", lanes=1),
    FullyConnectedDsp(),
    FullyConnectedDsp("fully_connected_w4_dsp", nibbles=True),
    FullyConnectedApartDsp(),
    FullyConnectedFoldDsp(),
    # 16 bits hold the sum of 255 inputs.
    AveragePool("average_pool2d_dsp", Isa.DSP, most=255, channels=4),
    MaxPool("max_pool2d_dsp", Isa.DSP, channels=4),
    Mean("mean_dsp", Isa.DSP, most=255, channels=4),
    Conv2dRuns(),
    FullyConnectedRuns(),
    WideConvDsp(),
    WideDepthwiseDsp(),
    WideFullyConnectedDsp(),
    LstmDsp(),
    SvdfDsp(),
)


def all_kernels() -> tuple[Kernel, ...]:
    """Return all kernels but the portable ones of the operators' own names."""
    return _SPECIAL


def candidates(lowered: Lowered, isa: Isa) -> tuple[Kernel, ...]:
    """Return the kernels that can run ``lowered`` on ``isa``, best first, portable last."""
    fast = (k for k in _SPECIAL if k.isa <= isa and k.supports(lowered))
    return (*fast, Portable(lowered.kernel))


def kernel_named(name: str, lowered: Lowered) -> Kernel:
    """Return the kernel of that name for ``lowered``.

    Raises:
        KeyError: if no such kernel can run it.
    """
    for kernel in (*_SPECIAL, Portable(lowered.kernel)):
        if kernel.name == name and kernel.supports(lowered):
            return kernel
    raise KeyError(name)


__all__ = [
    "Helper",
    "Isa",
    "Kernel",
    "Portable",
    "Specialised",
    "all_kernels",
    "candidates",
    "kernel_named",
]
