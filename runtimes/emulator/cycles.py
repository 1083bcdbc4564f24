"""How many cycles a network would take: a timing model on top of exact instruction counts.

The model multiplies how often each instruction was executed by what the core's manual says it
takes: Cortex-M4 Technical Reference Manual (DDI 0439B), section 3.3.1, and Cortex-M0+ (DDI 0484C),
section 3.3. To that come the waits for the flash (`runtimes.emulator.flash`), where the board says
how many states there are and what buffers hide them. RAM without wait states is assumed, as are no
bus conflicts. Rules, for the M4:

- a single load or store takes 2 cycles, 1 behind another single load or store;
- N words at once take 1 + N; loading pc adds a branch;
- a taken branch or call takes 3 cycles (refilling the pipeline: 1 to 3, taken as 2), else 1;
- a division takes 7 (2 to 12 in silicon), a floating-point MAC 3, division or root 14, others 1.

How far to trust it: the few published latencies of complete networks on M4 boards lie 1.2 to 1.4
times above such a model without wait states. Cortex-M7 issues two instructions at a time
and has caches, Cortex-M33 has another pipeline: there the M4's figure is only a yardstick that
compares kernels, and is marked so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from runtimes.emulator.emulator import Emulator
from runtimes.emulator.machine import Machine
from runtimes.emulator.thumb import Instruction, Kind, decode


@dataclass(frozen=True)
class Timing:
    """Cycles of a core.

    Attributes:
        memory: a single load or store.
        follower: the same behind another one.
        refill: added by a taken branch.
        divide: an integer division.
        trust: how far to trust the figures, in words.
    """

    memory: int
    follower: int
    refill: int
    divide: int
    trust: str


_M4 = Timing(2, 1, 2, 7, "model of the core's manual")
_NO_WAITS = "no wait states; boards are 1.2 to 1.4x slower"
_YARDSTICK = "timing of a Cortex-M4: compares kernels, does not predict this core"
TIMINGS = {
    "cortex-m0": Timing(2, 2, 2, 7, _M4.trust),
    "cortex-m0plus": Timing(2, 2, 1, 7, _M4.trust),
    "cortex-m3": _M4,
    "cortex-m4": _M4,
}
_FIXED = {Kind.FLOAT_MAC: 3, Kind.FLOAT_DIVIDE: 14}
_TAKEN = (Kind.BRANCH, Kind.CALL, Kind.TABLE)
_SINGLE = (Kind.LOAD, Kind.STORE)


@dataclass(frozen=True)
class Estimate:
    """Cycles of one inference.

    Attributes:
        total: the whole inference.
        layers: of each layer, in order.
        waits: of the total, those in which the core waits for its flash; 0 if not known.
        trust: how far to trust the figures, in words.
    """

    total: int
    layers: tuple[int, ...]
    waits: int
    trust: str


def timing_of(core: str) -> Timing:
    """Return the timing of ``core``; of cores without a model of their own, the yardstick's."""
    return TIMINGS.get(core, _M4)


def estimate(emulator: Emulator) -> Estimate:
    """Return the cycles that the emulator's last inference would take."""
    machine, core = emulator.machine, emulator.machine.board.core
    timing = timing_of(core)
    costs, branches = costs_of(machine.code, machine.block_starts, timing)
    run, *layers = (
        _cycles(*machine.executed(place), costs, branches, timing)
        for place in range(-1, emulator.info.layers)
    )
    outside, waits = machine.flash_waits or (0, (0,) * len(layers))
    layers = [spent + waited for spent, waited in zip(layers, waits, strict=True)]
    waited = outside + sum(waits)
    return Estimate(run + outside + sum(layers), tuple(layers), waited, _trust(machine))


def _trust(machine: Machine) -> str:
    core, access = machine.board.core, machine.board.flash_access
    if core not in TIMINGS:
        return _YARDSTICK
    if machine.flash_waits is None or access is None:
        return f"{TIMINGS[core].trust}, {_NO_WAITS}"
    return f"{TIMINGS[core].trust} and of flash with {access.wait_states} wait states"


def costs_of(
    code: npt.NDArray[np.uint16], starts: npt.NDArray[np.bool_], timing: Timing
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return the cycles of the instruction at each halfword, and which are conditional branches.

    Args:
        code: halfwords; constants among them may read as instructions, but are never executed.
        starts: halfwords where a block was entered: no instruction reaches across one.
        timing: of the core.

    Returns:
        cycles, 0 at second halfwords; and a mark behind each conditional branch.
    """
    costs = np.zeros(code.size, np.int64)
    conditional = np.zeros(code.size + 2, np.bool_)
    at, previous = 0, Instruction(Kind.ALU, 1)
    halfwords = [*code.tolist(), 0]
    while at < code.size:
        instruction = decode(halfwords[at], halfwords[at + 1])
        if instruction.size == 2 and at + 1 < code.size and starts[at + 1]:
            instruction = replace(instruction, size=1)
        costs[at] = _cost(instruction, previous, timing)
        conditional[at + instruction.size] = instruction.kind is Kind.CONDITIONAL
        at, previous = at + instruction.size, instruction
    return costs, conditional


def _cost(instruction: Instruction, previous: Instruction, timing: Timing) -> int:
    kind = instruction.kind
    refill = timing.refill if instruction.loads_pc or kind in _TAKEN else 0
    if kind in _SINGLE:
        return refill + (timing.follower if previous.kind in _SINGLE else timing.memory)
    if kind is Kind.MULTIPLE:
        return refill + 1 + instruction.words
    if kind is Kind.DIVIDE:
        return timing.divide
    return refill + _FIXED.get(kind, 1)


def _cycles(
    executed: npt.NDArray[np.int64],
    taken: npt.NDArray[np.int64],
    costs: npt.NDArray[np.int64],
    conditional: npt.NDArray[np.bool_],
    timing: Timing,
) -> int:
    refills = taken[: conditional.size][conditional[: taken.size]].sum() * timing.refill
    return int(executed[: costs.size] @ costs + refills)
