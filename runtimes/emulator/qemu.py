"""QEMU for what Unicorn has not: Cortex-M55 with its vector extension.

With ``-icount`` a virtual clock advances by 2^shift ns per instruction, so the machine's timer
counts instructions, to within one tick at both ends of each layer; the same in every run. QEMU
does not enforce a board's memory map as `runtimes.emulator.machine` does.
"""

from __future__ import annotations

import os
import select
import shutil
import subprocess
from collections.abc import Sequence
from fractions import Fraction
from types import TracebackType
from typing import BinaryIO, cast

from boards import Board
from boards.console import console_of
from codegen.project import QEMU_FLAGS
from runtimes.device.client import Client
from runtimes.emulator.emulator import EmulatedRun, LayerCount, layer_names
from runtimes.emulator.symbols import read_image
from runtimes.toolchains import Firmware
from toolchain.errors import ToolError
from toolchain.ir.graph import Graph
from toolchain.ir.tensor import Array

_NANOSECONDS = 64  # per instruction: -icount shift=6


class PipeLink:
    """A process's standard input and output as a link of `runtimes.device.client.Client`."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._send = cast("BinaryIO", process.stdin)
        self._receive = cast("BinaryIO", process.stdout)

    def write(self, data: bytes) -> None:
        """See `Link.write`."""
        self._send.write(data)
        self._send.flush()

    def read(self, seconds: float) -> bytes:
        """See `Link.read`."""
        ready, _, _ = select.select([self._receive], [], [], seconds)
        return os.read(self._receive.fileno(), 65536) if ready else b""


class QemuEmulator:
    """A QEMU machine that runs a project's firmware; use it in a ``with`` statement.

    Args:
        firmware: built for ``board``.
        board: a board with a QEMU machine.
        graph: the network, for its inputs and outputs.
        plan_hash: hash of the plan the firmware must run.
        prefix: C prefix of the network.

    Raises:
        ToolError: E601 if QEMU is not installed, E604 if it has no machine for the board.
        DeviceError: E503 if the firmware was made from another plan.
    """

    def __init__(
        self, firmware: Firmware, board: Board, graph: Graph, plan_hash: str, prefix: str = "model"
    ) -> None:
        if not board.emulation.qemu:
            raise ToolError("E604", "QEMU has no machine for this board", where=board.id)
        if shutil.which("qemu-system-arm") is None:
            hints = ["apt install qemu-system-arm"]
            raise ToolError("E601", "qemu-system-arm is not installed", hints=hints)
        machine = ["-M", board.emulation.qemu, "-serial", "stdio", "-kernel", str(firmware.elf)]
        self._process = subprocess.Popen(
            ["qemu-system-arm", *machine, *QEMU_FLAGS],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._scale = Fraction(10**9, _NANOSECONDS * console_of(board).clock_hz)
        link, where = PipeLink(self._process), f"QEMU {board.emulation.qemu}"
        self._client = Client(link, graph, where)
        try:
            self.info = self._client.connect(plan_hash)
            self._names = layer_names(read_image(firmware.elf), prefix, self.info.layers)
        except BaseException:
            self.close()
            raise

    def run(self, inputs: Sequence[Array]) -> EmulatedRun:
        """Run one inference; see `EmulatedRun`. Counts are exact to about two instructions."""
        done = self._client.run(inputs)
        counts = (round(ticks * self._scale) for ticks in done.layers)
        layers = tuple(LayerCount(n, c) for n, c in zip(self._names, counts, strict=True))
        return EmulatedRun(done.outputs, round(done.ticks * self._scale), layers, done.stack_bytes)

    def close(self) -> None:
        """End the machine."""
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> QemuEmulator:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
