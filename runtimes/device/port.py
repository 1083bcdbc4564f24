"""Serial ports: find the board's, open it alone, say clearly what is wrong with it."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from boards.console import BAUD
from runtimes.device.client import Client, DeviceInfo, DeviceRun
from toolchain.errors import DeviceError, ToolError
from toolchain.ir.graph import Graph
from toolchain.ir.tensor import Array


def find_port() -> str:
    """Return the only serial port that belongs to a USB device.

    Raises:
        DeviceError: E501 if there is none, or several to choose from.
    """
    _require_pyserial()
    from serial.tools import list_ports

    usb = [port for port in list_ports.comports() if port.vid is not None]
    if len(usb) == 1:
        return str(usb[0].device)
    if usb:
        found = ", ".join(f"{p.device} ({p.description})" for p in usb)
        hints = [f"tessera validate DIR --port {p.device}" for p in usb]
        raise DeviceError("E501", f"several boards are connected: {found}", hints=hints)
    raise DeviceError(
        "E501",
        "no board found: no USB serial port on this computer",
        hints=["connect the board's USB cable", "tessera test DIR runs it in an emulator"],
    )


class SerialLink:
    """A serial port as a link of `runtimes.device.client.Client`.

    Args:
        port: its name.

    Raises:
        DeviceError: E501 if there is no such port or we may not open it, E502 if another program
            has it.
    """

    def __init__(self, port: str) -> None:
        _require_pyserial()
        self.name, self._port = port, _opened(port)
        self._port.reset_input_buffer()

    def write(self, data: bytes) -> None:
        """See `Link.write`.

        Raises:
            DeviceError: E504 if the board was unplugged.
        """
        try:
            self._port.write(data)
        except OSError as error:  # what pyserial raises is an OSError too
            raise self._unplugged(error) from None

    def read(self, seconds: float) -> bytes:
        """See `Link.read`.

        Raises:
            DeviceError: E504 if the board was unplugged.
        """
        try:
            self._port.timeout = seconds
            first = bytes(self._port.read(1))
            return first + bytes(self._port.read(self._port.in_waiting)) if first else b""
        except OSError as error:
            raise self._unplugged(error) from None

    def close(self) -> None:
        """Give the port back."""
        self._port.close()

    def _unplugged(self, error: OSError) -> DeviceError:
        return DeviceError("E504", f"the board was unplugged ({error})", where=self.name)


class Device:
    """A connected board that runs a project's firmware; use it in a ``with`` statement.

    Args:
        port: serial port; see `find_port`.
        graph: the network, for its inputs and outputs.
        plan_hash: hash of the plan that the firmware must run.
        patience: seconds an inference may take.

    Raises:
        DeviceError: E501, E502 if the port cannot be opened, E503 if the board runs another plan,
            E504 if it does not answer.
    """

    info: DeviceInfo

    def __init__(self, port: str, graph: Graph, plan_hash: str, patience: float = 60.0) -> None:
        self._link = SerialLink(port)
        self._client = Client(self._link, graph, port, patience)
        try:
            self.info = self._client.connect(plan_hash)
        except BaseException:
            self._link.close()
            raise

    def run(self, inputs: Sequence[Array]) -> DeviceRun:
        """Run one inference on the board.

        Raises:
            DeviceError: E504 if it was unplugged or does not answer any more.
        """
        return self._client.run(inputs)

    def __enter__(self) -> Device:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._link.close()


def _opened(port: str) -> Any:
    import serial

    try:
        return serial.Serial(port, BAUD, exclusive=True, write_timeout=30)
    except serial.SerialException as error:
        raise _not_opened(port, error) from None


def _not_opened(port: str, error: Any) -> DeviceError:
    if not Path(port).exists():
        return DeviceError("E501", "no such serial port", where=port, hints=["tessera doctor"])
    holders = _holders(port)
    if error.errno in (errno.EBUSY, errno.EAGAIN, errno.EWOULDBLOCK) or holders:
        who = ", ".join(f"{name} (pid {pid})" for pid, name in holders) or "another program"
        hints = [f"close {name}" for _, name in holders]
        return DeviceError("E502", f"the port is in use by {who}", where=port, hints=hints)
    if error.errno == errno.EACCES:
        hints = ["sudo usermod -aG dialout $USER, then log in again"]
        return DeviceError("E501", "no right to open the port", where=port, hints=hints)
    return DeviceError("E501", f"the port cannot be opened: {error}", where=port)


def _holders(port: str) -> list[tuple[int, str]]:
    """Return pid and name of the other processes that have ``port`` open (Linux)."""
    real, found = os.path.realpath(port), []
    for handle in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            pid = int(handle.parts[2])
            if pid != os.getpid() and str(handle.readlink()) == real:
                found.append((pid, Path("/proc", str(pid), "comm").read_text().strip()))
        except OSError:
            continue  # gone meanwhile, or not ours to see
    return found


def _require_pyserial() -> None:
    try:
        import serial  # noqa: F401
    except ImportError:
        hints = ['pip install "tessera[mcu]"']
        raise ToolError("E601", "serial ports need pyserial", hints=hints) from None
