"""Compiler flags of each core: what GCC and clang must be told to make code for a board."""

from __future__ import annotations

from boards import Board

OPTIMISE = ("-O2", "-g", "-ffunction-sections", "-fdata-sections", "-fno-unwind-tables")
GCC_LINK_FLAGS = ("-nostartfiles", "--specs=nano.specs", "--specs=nosys.specs")
ZIG_LINK_FLAGS = ("-Wl,-e,Reset_Handler",)
_FPU = {"cortex-m4": "fpv4-sp-d16", "cortex-m7": "fpv5-sp-d16", "cortex-m33": "fpv5-sp-d16"}
_ZIG_FPU = {"cortex-m4": "vfp4d16sp", "cortex-m7": "fp_armv8d16sp", "cortex-m33": "fp_armv8d16sp"}


def fpu_flags(board: Board) -> tuple[str, ...]:
    """Return GCC's flags of the floating-point unit; kernels need no double precision."""
    if not _has_fpu(board):
        return ("-mfloat-abi=soft",)
    if board.core == "cortex-m55":
        return ("-mfloat-abi=hard",)
    return (f"-mfpu={_FPU[board.core]}", "-mfloat-abi=hard")


def gcc_core_flags(board: Board) -> tuple[str, ...]:
    """Return the flags that choose a board's core and floating-point unit for GCC."""
    bare = board.core == "cortex-m33" and not _has_fpu(board)
    core = (f"-mcpu={board.core}{'+nofp' if bare else ''}", "-mthumb", *fpu_flags(board))
    # GCC 12's own vectorisation for MVE gives wrong sums; the MVE kernels are vectorised by hand.
    return (*core, "-fno-tree-vectorize") if board.core == "cortex-m55" else core


def zig_core_flags(board: Board) -> tuple[str, ...]:
    """Return the flags that choose target, core and floating-point unit for ``zig cc``."""
    cpu = board.core.replace("-", "_")
    if board.core == "cortex-m55":
        cpu += "+mve+fp_armv8d16"
    elif _has_fpu(board):
        cpu += f"+{_ZIG_FPU[board.core]}"
    target = "thumb-freestanding-eabihf" if _has_fpu(board) else "thumb-freestanding-eabi"
    # Without a frame pointer the assembly kernels have the registers that GCC gives them.
    return (
        "-target", target, f"-mcpu={cpu}", "-ffreestanding", "-fno-builtin", "-fno-sanitize=all",
        "-fomit-frame-pointer",
    )  # fmt: skip


def _has_fpu(board: Board) -> bool:
    return any(feature.startswith("fpu") for feature in board.features)
