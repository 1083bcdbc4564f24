"""A link emulator in user space: TCP relays on loopback that hold bytes back until they are due.

One listening port per ordered pair of devices; who connects there reaches the other device as if
over the link. No root, no kernel modules; kernels may lack netem. One process serves all links,
so that ports are shared by all streams of a device, as in a real switch.
"""

from __future__ import annotations

import ctypes
import os
import select
import selectors
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from runtimes.cluster.emulate.link import LinkSpec, Switch

_READ_BYTES = 1 << 16
_QUEUED_BYTES = 1 << 20  # in flight per stream; more waits in the sender's socket buffer
_IDLE_S = 60.0
_PATIENCE_S = 5.0  # for a receiver that takes nothing
_PR_SET_TIMERSLACK = 29


@dataclass
class _Stream:
    """One direction of a relayed connection."""

    source: socket.socket
    target: socket.socket
    sender: int
    receiver: int
    queued: int = 0
    last_at: float = 0.0
    ended: bool = False


_Chunk: TypeAlias = tuple[_Stream, bytes]  # no bytes are the end of the stream


class Relay:
    """All links of an emulated cluster.

    Args:
        spec: of every link.
        targets: device to ``host:port``; loopback.
        seed: of jitter and loss.
    """

    def __init__(self, spec: LinkSpec, targets: Mapping[int, str], seed: int = 0) -> None:
        self._switch: Switch[_Chunk] = Switch(spec, seed)
        self._targets = dict(targets)
        self._selector = selectors.DefaultSelector()
        self._sockets: set[socket.socket] = set()
        self._unplugged: set[int] = set()
        self._serving = True

    def listen(self, sender: int, receiver: int) -> str:
        """Open the port by which ``sender`` reaches ``receiver``; returns ``host:port``."""
        server = socket.create_server(("127.0.0.1", 0))
        self._add(server, partial(self._accept, server, sender, receiver))
        host, port = server.getsockname()[:2]
        return f"{host}:{port}"

    def unplug(self, device: int) -> None:
        """Let nothing through to or from a device any more; its connections stay open."""
        self._unplugged.add(device)

    def serve(self, control: int) -> None:
        """Relay until the descriptor ``control`` ends; each byte of it unplugs that device."""
        _precise_timers()
        self._selector.register(control, selectors.EVENT_READ, partial(self._obey, control))
        while self._serving:
            self._deliver()
            wait = max(0.0, self._switch.next_event() - time.monotonic())
            # Selectors wait for whole milliseconds, select(2) does for microseconds.
            if select.select([self._selector], [], [], min(wait, _IDLE_S))[0]:
                for key, _ in self._selector.select(0):
                    key.data()

    def close(self) -> None:
        """Close all sockets."""
        self._selector.close()
        for sock in self._sockets:
            sock.close()

    def _add(self, sock: socket.socket, action: Callable[[], None]) -> None:
        sock.setblocking(False)
        self._sockets.add(sock)
        self._selector.register(sock, selectors.EVENT_READ, action)

    def _obey(self, control: int) -> None:
        command = os.read(control, 1)
        if command:
            self.unplug(command[0])
        self._serving = bool(command)

    def _accept(self, listener: socket.socket, sender: int, receiver: int) -> None:
        client, _ = listener.accept()
        host, _, port = self._targets[receiver].rpartition(":")
        try:
            server = socket.create_connection((host, int(port)), timeout=1.0)
        except OSError:  # nobody there: what a dead device looks like
            client.close()
            return
        for stream in (
            _Stream(client, server, sender, receiver),
            _Stream(server, client, receiver, sender),
        ):
            stream.source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._add(stream.source, partial(self._read, stream))

    def _read(self, stream: _Stream) -> None:
        try:
            data = stream.source.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if stream.sender in self._unplugged or stream.receiver in self._unplugged:
            if not data:
                self._drop(stream)
            return
        stream.last_at = self._switch.send(
            (stream, data),
            len(data),
            time.monotonic(),
            stream.sender,
            stream.receiver,
            stream.last_at,
        )
        stream.ended = not data
        stream.queued += len(data)
        if stream.ended or stream.queued >= _QUEUED_BYTES:
            self._selector.unregister(stream.source)

    def _deliver(self) -> None:
        """Send everything that is due."""
        for stream, data in self._switch.take(time.monotonic()):
            was_full = stream.queued >= _QUEUED_BYTES
            if stream.source not in self._sockets:
                continue
            stream.queued -= len(data)
            if not data or not _send(stream.target, data):
                self._drop(stream)
            elif was_full and stream.queued < _QUEUED_BYTES and not stream.ended:
                self._add(stream.source, partial(self._read, stream))

    def _drop(self, stream: _Stream) -> None:
        """Close both directions of a connection."""
        for side in (stream.source, stream.target):
            if side in self._sockets:
                self._sockets.remove(side)
                if side in self._selector.get_map():
                    self._selector.unregister(side)
            side.close()


def _send(target: socket.socket, data: bytes) -> bool:
    """Send all of it; False if the connection is gone."""
    try:
        sent = target.send(data)
    except BlockingIOError:
        sent = 0
    except OSError:
        return False
    if sent == len(data):
        return True
    try:
        target.settimeout(_PATIENCE_S)
        target.sendall(memoryview(data)[sent:])
        target.setblocking(False)
    except OSError:
        return False
    return True


def _precise_timers() -> None:
    """Ask Linux to wake this thread to the microsecond instead of within 50 of them."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
