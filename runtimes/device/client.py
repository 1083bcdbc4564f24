"""The host's side of the device protocol, over any link that carries bytes."""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from runtimes.device.frames import PAYLOAD, Frame, Receiver
from toolchain.errors import DeviceError
from toolchain.ir.graph import Graph
from toolchain.ir.tensor import Array, Tensor

VERSION = 2
_TRIES = 3
_QUICK = 5.0  # seconds for any answer but an inference
_DATA = PAYLOAD - 5
_ROWS = PAYLOAD - 4
_INFO = struct.Struct("<BBBHIII")
_INPUTS_DAMAGED = 3


class Link(Protocol):
    """A two-way stream of bytes."""

    def write(self, data: bytes) -> None:
        """Send all of ``data``."""
        ...

    def read(self, seconds: float) -> bytes:
        """Return what has come, waiting up to ``seconds`` for the first byte; may be empty."""
        ...


@dataclass(frozen=True)
class DeviceInfo:
    """What a firmware says of itself.

    Attributes:
        plan_hash: first 16 digits of the hash of the plan it was made from.
        inputs: number of inputs.
        outputs: number of outputs.
        layers: number of layers.
        clock_hz: frequency of its tick counter's CPU.
        stack_bytes: bytes reserved for the stack.
        row_bytes: bytes of a row of the only input if it is pushed row by row, else 0.
    """

    plan_hash: str
    inputs: int
    outputs: int
    layers: int
    clock_hz: int
    stack_bytes: int
    row_bytes: int


@dataclass(frozen=True, eq=False)
class DeviceRun:
    """One inference on a device.

    Attributes:
        outputs: of the graph's shapes and dtypes.
        ticks: of the whole inference; CPU cycles on silicon.
        layers: ticks of each layer.
        stack_bytes: greatest depth of the stack during this inference.
    """

    outputs: list[Array]
    ticks: int
    layers: tuple[int, ...]
    stack_bytes: int


class _NoAnswerError(Exception):
    pass


class Client:
    """Talks to one firmware.

    Args:
        link: how bytes travel.
        graph: the network that the firmware runs.
        where: names the device in errors.
        patience: seconds an inference may take.
    """

    def __init__(
        self,
        link: Link,
        graph: Graph,
        where: str,
        patience: float = 60.0,
    ) -> None:
        self._link, self._where, self._patience = link, where, patience
        self._inputs, self._outputs = graph.input_tensors, graph.output_tensors
        self._stateful = bool(graph.states)
        self._receiver, self._sequence = Receiver(), 0
        self._frames: list[Frame] = []
        self._layers, self._fed = 0, False

    def connect(self, plan_hash: str) -> DeviceInfo:
        """Ask the firmware who it is.

        Args:
            plan_hash: hash of the plan that it must run, at least the digits it reports.

        Raises:
            DeviceError: E503 if it runs another plan or speaks another protocol, E504 if it does
                not answer.
        """
        payload = self._ask("I", b"", "i").payload
        payload = payload.ljust(_INFO.size, b"\0")
        version, inputs, outputs, layers, clock, stack, row = _INFO.unpack_from(payload)
        found = payload[_INFO.size :].decode("ascii", "replace")
        if version != VERSION or not found or not plan_hash.startswith(found):
            raise DeviceError(
                "E503",
                f"the board runs plan {found or '?'}, this project is {plan_hash[:16]}",
                where=self._where,
                numbers={"device": found, "project": plan_hash[:16], "protocol": version},
                hints=["tessera flash DIR"],
            )
        self._layers, self._fed = layers, row > 0
        return DeviceInfo(found, inputs, outputs, layers, clock, stack, row)

    def run(self, inputs: Sequence[Array]) -> DeviceRun:
        """Run one inference.

        Raises:
            DeviceError: E504 if the device does not answer any more.
        """
        ticks, stack = self._push(inputs) if self._fed else self._infer(inputs)
        layers = self._layer_ticks()
        outputs = [self._output(index, tensor) for index, tensor in enumerate(self._outputs)]
        return DeviceRun(outputs, ticks, layers, stack)

    def _infer(self, inputs: Sequence[Array]) -> tuple[int, int]:
        data = [
            np.ascontiguousarray(value, dtype=tensor.dtype.numpy).tobytes()
            for tensor, value in zip(self._inputs, inputs, strict=True)
        ]
        check = struct.pack("<I", zlib.crc32(b"".join(data)))
        for _ in range(_TRIES):
            for port, content in enumerate(data):
                self._send_input(port, content)
            try:
                reply = self._once("R", check, "re", self._patience)
            except _NoAnswerError:
                if self._stateful:  # it may have run: another try would be a step too many
                    break
                continue
            if reply.kind == "r":
                ticks, stack = struct.unpack("<II", reply.payload)
                return ticks, stack
            if reply.payload[0] != _INPUTS_DAMAGED:
                break
        raise self._lost()

    def _push(self, inputs: Sequence[Array]) -> tuple[int, int]:
        """Hand over the only input in pieces; the device takes each row when it is complete."""
        ((tensor, value),) = zip(self._inputs, inputs, strict=True)
        content = np.ascontiguousarray(value, dtype=tensor.dtype.numpy).tobytes()
        check = struct.pack("<I", zlib.crc32(content))
        for _ in range(_TRIES):
            taken = 0
            while taken < len(content):
                piece = struct.pack("<I", taken) + content[taken : taken + _ROWS]
                reply = self._ask("P", piece, "pe", self._patience)
                now = int.from_bytes(reply.payload[:4], "little")
                if reply.kind == "e" or not taken < now <= len(content):
                    break  # it was reset, or took something else: start again
                taken = now
            reply = self._ask("F", check, "re")
            if reply.kind == "r":
                ticks, stack = struct.unpack("<II", reply.payload)
                return ticks, stack
        raise self._lost()

    def _send_input(self, port: int, content: bytes) -> None:
        for offset in range(0, len(content), _DATA):
            head = struct.pack("<BI", port, offset)
            self._send("W", head + content[offset : offset + _DATA])

    def _layer_ticks(self) -> tuple[int, ...]:
        ticks: list[int] = []
        while len(ticks) < self._layers:
            payload = self._ask("L", struct.pack("<H", len(ticks)), "l").payload
            ticks += struct.unpack(f"<{len(payload) // 4}I", payload[2:])
        return tuple(ticks)

    def _output(self, port: int, tensor: Tensor) -> Array:
        for _ in range(_TRIES):
            try:
                content = self._read_output(port, tensor.nbytes)
            except _NoAnswerError:
                continue
            return np.frombuffer(content, tensor.dtype.numpy).reshape(tensor.shape)
        raise self._lost()

    def _read_output(self, port: int, size: int) -> bytes:
        content = bytearray()
        frame = self._once("O", struct.pack("<BII", port, 0, size), "o")
        while True:
            offset, part = int.from_bytes(frame.payload[1:5], "little"), frame.payload[5:]
            if offset != len(content) or not part:
                raise _NoAnswerError
            content += part
            if len(content) >= size:
                return bytes(content[:size])
            frame = self._reply(self._sequence, "o", _QUICK)

    def _ask(self, kind: str, payload: bytes, expected: str, seconds: float = _QUICK) -> Frame:
        for _ in range(_TRIES):
            try:
                return self._once(kind, payload, expected, seconds)
            except _NoAnswerError:
                continue
        raise self._lost()

    def _once(self, kind: str, payload: bytes, expected: str, seconds: float = _QUICK) -> Frame:
        return self._reply(self._send(kind, payload), expected, seconds)

    def _send(self, kind: str, payload: bytes) -> int:
        self._sequence = (self._sequence + 1) & 0xFF
        # The leading zero ends whatever noise the receiver took for a frame.
        self._link.write(b"\0" + Frame(kind, self._sequence, payload).encode())
        return self._sequence

    def _reply(self, sequence: int, expected: str, seconds: float) -> Frame:
        deadline = time.monotonic() + seconds
        while True:
            while self._frames:
                frame = self._frames.pop(0)
                if frame.sequence == sequence and frame.kind in expected:
                    return frame
            left = deadline - time.monotonic()
            if left <= 0:
                raise _NoAnswerError
            data = self._link.read(left)
            if not data and time.monotonic() < deadline:
                raise _NoAnswerError
            self._frames += self._receiver.feed(data)

    def _lost(self) -> DeviceError:
        return DeviceError(
            "E504",
            "the device does not answer",
            where=self._where,
            hints=["check the cable, press reset, then run the command again"],
        )
