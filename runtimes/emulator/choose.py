"""The right emulator for a board."""

from __future__ import annotations

from boards import Board
from runtimes.emulator.emulator import Emulator
from runtimes.emulator.qemu import QemuEmulator
from runtimes.toolchains import Firmware
from toolchain.errors import ToolError
from toolchain.ir.graph import Graph


def open_emulator(
    firmware: Firmware, board: Board, graph: Graph, plan_hash: str, prefix: str = "model"
) -> Emulator | QemuEmulator:
    """Return an emulator that runs ``firmware``: exact and with faults, or QEMU where it must be.

    Args:
        firmware: built for ``board``.
        board: a board that Unicorn or QEMU can run.
        graph: the network, for its inputs and outputs.
        plan_hash: hash of the plan the firmware must run.
        prefix: C prefix of the network.

    Returns:
        An emulator to use in a ``with`` statement.

    Raises:
        ToolError: E604 if neither can run the board, E601 if what it needs is not installed.
        DeviceError: E503 if the firmware was made from another plan.
    """
    if board.emulation.unicorn:
        return Emulator(firmware, board, graph, plan_hash, prefix)
    if board.emulation.qemu:
        return QemuEmulator(firmware, board, graph, plan_hash, prefix)
    hints = ["tessera boards"]
    raise ToolError("E604", "no emulator runs this board", where=board.id, hints=hints)
