"""The emulated UART as a serial port of this computer: a pseudo-terminal."""

from __future__ import annotations

import os
import select
import threading
import tty
from types import TracebackType

from runtimes.emulator.machine import Machine
from toolchain.errors import TesseraError


class Terminal:
    """Joins a started machine's UART to a pseudo-terminal while a ``with`` statement runs.

    Attributes:
        port: name of the serial port to open.
        error: what stopped the machine, if anything did.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self._wake_read, self._wake_write = os.pipe()
        self.port = os.ttyname(self._slave)
        self.error: TesseraError | None = None
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Terminal:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.write(self._wake_write, b"x")
        self._thread.join()
        for handle in (self._master, self._slave, self._wake_read, self._wake_write):
            os.close(handle)

    def _serve(self) -> None:
        while True:
            ready, _, _ = select.select([self._master, self._wake_read], [], [])
            if self._wake_read in ready:
                return
            try:
                sent = self._machine.resume(os.read(self._master, 4096))
            except TesseraError as error:
                self.error = error
                return
            while sent:
                sent = sent[os.write(self._master, sent) :]
