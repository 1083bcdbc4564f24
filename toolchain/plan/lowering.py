"""Lowered nodes, remembered: planner, checker and code generator ask for the same ones.

Packing weights for a kernel takes far longer than planning with the result. Operands are compared
by the identity of their tensors, which never change.
"""

from __future__ import annotations

from functools import lru_cache

from toolchain.ir.graph import Operands
from toolchain.kernels import Isa, Kernel, Specialised, candidates, kernel_named
from toolchain.kernels.cost import ERROR
from toolchain.ops.base import Lowered, Op

_REMEMBERED = 2048


@lru_cache(_REMEMBERED)
def lower(op: Op, operands: Operands) -> Lowered:
    """Return ``op.lower(operands)``."""
    return op.lower(operands)


@lru_cache(_REMEMBERED)
def fold(op: Op, operands: Operands) -> Lowered | None:
    """Return ``op.fold(operands)``."""
    return op.fold(operands)


@lru_cache(_REMEMBERED)
def kernels(lowered: Lowered, isa: Isa) -> tuple[Kernel, ...]:
    """Return `candidates`; one that is clearly cheaper than the first goes before it."""
    found = candidates(lowered, isa)
    rivals = (kernel for kernel in found if kernel.isa is found[0].isa)
    prices = {kernel: specialise(lowered, kernel.name)[1].cost(isa) for kernel in rivals}
    known = [kernel for kernel in prices if prices[kernel]]
    if found[0] not in known:
        return found
    cheapest = min(known, key=lambda kernel: prices[kernel])
    if prices[cheapest] > (1 - 2 * ERROR) * prices[found[0]]:
        return found
    return (cheapest, *(kernel for kernel in found if kernel is not cheapest))


@lru_cache(_REMEMBERED)
def specialise(lowered: Lowered, name: str) -> tuple[Kernel, Specialised]:
    """Return the kernel of that name and what it needs for the node.

    Raises:
        KeyError: if no such kernel can run it.
    """
    kernel = kernel_named(name, lowered)
    return kernel, kernel.specialise(lowered)
