"""The emulated board as a board: the real firmware, spoken to through its UART."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

from boards import Board
from runtimes.device.client import Client, DeviceRun
from runtimes.emulator.canaries import paint_unused, strays
from runtimes.emulator.machine import Machine
from runtimes.emulator.symbols import Image
from runtimes.toolchains import Firmware
from toolchain.errors import ToolError
from toolchain.ir.graph import Graph
from toolchain.ir.tensor import Array


@dataclass(frozen=True)
class LayerCount:
    """Instructions that one layer function executed."""

    name: str
    instructions: int


@dataclass(frozen=True, eq=False)
class EmulatedRun:
    """One inference in the emulator.

    Attributes:
        outputs: of the graph's shapes and dtypes.
        instructions: executed by ``<prefix>_run``, all layers included; exact.
        layers: of each layer, in order.
        stack_bytes: greatest depth of the stack during the inference.
    """

    outputs: list[Array]
    instructions: int
    layers: tuple[LayerCount, ...]
    stack_bytes: int


class MachineLink:
    """The emulated UART as a link of `runtimes.device.client.Client`."""

    def __init__(self, machine: Machine) -> None:
        self._machine, self._pending = machine, b""

    def write(self, data: bytes) -> None:
        """See `Link.write`."""
        self._pending += data

    def read(self, seconds: float) -> bytes:
        """See `Link.read`: runs the firmware until it waits; the emulator needs no time limit."""
        del seconds
        data, self._pending = self._pending, b""
        return self._machine.resume(data) if data else b""


class Emulator:
    """Keeps one emulated board alive for many inferences.

    Args:
        firmware: a project's firmware, built for ``board``.
        board: whose memory map is enforced.
        graph: the network, for its inputs and outputs.
        plan_hash: hash of the plan the firmware must run.
        prefix: C prefix of the network.

    Raises:
        ToolError: E603 if the firmware fails, E604 if the core cannot be emulated.
        DeviceError: E503 if the firmware was made from another plan.
    """

    def __init__(
        self, firmware: Firmware, board: Board, graph: Graph, plan_hash: str, prefix: str = "model"
    ) -> None:
        self.firmware = firmware
        self.machine = Machine(firmware, board)
        paint_unused(self.machine)
        self.machine.start()
        where = f"emulated {board.id}"
        link = MachineLink(self.machine)
        self._client = Client(link, graph, where)
        self.info = self._client.connect(plan_hash)
        self._names = layer_names(self.machine.image, prefix, self.info.layers)
        self.machine.watch(prefix, self._names)

    def run(self, inputs: Sequence[Array]) -> EmulatedRun:
        """Run one inference through the firmware's protocol.

        Args:
            inputs: one array per graph input.

        Raises:
            ToolError: E603 if the firmware touches memory that the board has not, writes to RAM
                that the linker did not give it, or hangs.
        """
        self.machine.clear_counts()
        done = self.device_run(inputs)
        if (found := strays(self.machine)) is not None:
            what = f"the firmware wrote outside its own RAM, from 0x{found[0]:08x}"
            numbers = {"first": found[0], "last": found[1]}
            raise ToolError("E603", what, where=self.machine.board.id, numbers=numbers)
        total, layers = self.machine.layer_counts
        counts = tuple(LayerCount(n, c) for n, c in zip(self._names, layers, strict=True))
        return EmulatedRun(done.outputs, total, counts, done.stack_bytes)

    def device_run(self, inputs: Sequence[Array]) -> DeviceRun:
        """Run one inference as a real board reports it, with ticks instead of exact counts."""
        return self._client.run(inputs)

    def __enter__(self) -> Emulator:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave nothing behind: the machine lives in this process."""


def layer_names(image: Image, prefix: str, count: int) -> tuple[str, ...]:
    """Return a name for each layer: its function's, where it has one of its own."""
    functions = image.layers(prefix)
    return tuple(functions[i].name if i in functions else f"layer_{i:02d}" for i in range(count))
