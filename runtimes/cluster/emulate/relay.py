"""A link emulator in user space: TCP relays on loopback that hold bytes back until they are due.

One listening port per ordered pair of devices; who connects there reaches the other device as if
over the link. No root, no kernel modules; kernels may lack netem. One process serves all links,
so that ports are shared by all streams of a device, as in a real switch.
"""

from __future__ import annotations

import ctypes
import os
import select
import socket
import sys
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from runtimes.cluster.emulate.link import Clock, LinkSpec, Port

_READ_BYTES = 1 << 16
_QUEUED_BYTES = 1 << 20  # in flight per stream; more waits in the sender's socket buffer
_PR_SET_TIMERSLACK = 29


@dataclass
class _Stream:
    """One direction of a relayed connection."""

    source: socket.socket
    target: socket.socket
    sender: int
    receiver: int
    queue: deque[tuple[float, bytes]] = field(default_factory=deque)
    queued: int = 0
    last_due: float = 0.0
    ended: bool = False


class Relay:
    """All links of an emulated cluster.

    Args:
        spec: of every link.
        targets: device to ``host:port``; loopback.
        seed: of jitter and loss.
    """

    def __init__(self, spec: LinkSpec, targets: Mapping[int, str], seed: int = 0) -> None:
        self._clock = Clock(spec, seed)
        self._targets = dict(targets)
        self._ports: dict[int, Port] = {}
        self._listeners: dict[socket.socket, tuple[int, int]] = {}
        self._streams: dict[socket.socket, _Stream] = {}
        self._unplugged: set[int] = set()

    def listen(self, sender: int, receiver: int) -> str:
        """Open the port by which ``sender`` reaches ``receiver``; returns ``host:port``."""
        server = socket.create_server(("127.0.0.1", 0))
        server.setblocking(False)
        self._listeners[server] = (sender, receiver)
        host, port = server.getsockname()[:2]
        return f"{host}:{port}"

    def unplug(self, device: int) -> None:
        """Let nothing through to or from a device any more; its connections stay open."""
        self._unplugged.add(device)

    def serve(self, control: int) -> None:
        """Relay until the descriptor ``control`` ends; each byte of it unplugs that device."""
        _precise_timers()
        while True:
            due = self._deliver(time.monotonic())
            wait = None if due is None else max(0.0, due - time.monotonic())
            sources = [s for s, stream in self._streams.items() if stream.queued < _QUEUED_BYTES]
            waited: list[socket.socket | int] = [control, *self._listeners, *sources]
            readable = select.select(waited, [], [], wait)[0]
            now = time.monotonic()
            for ready in readable:
                if isinstance(ready, int):
                    command = os.read(ready, 1)
                    if not command:
                        return
                    self.unplug(command[0])
                elif ready in self._listeners:
                    self._accept(ready)
                elif ready in self._streams:
                    self._read(self._streams[ready], now)

    def close(self) -> None:
        """Close all sockets."""
        for sock in [*self._listeners, *self._streams]:
            sock.close()

    def _accept(self, listener: socket.socket) -> None:
        sender, receiver = self._listeners[listener]
        client, _ = listener.accept()
        host, _, port = self._targets[receiver].rpartition(":")
        try:
            server = socket.create_connection((host, int(port)), timeout=1.0)
        except OSError:  # nobody there: what a dead device looks like
            client.close()
            return
        for side in (client, server):
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            side.settimeout(5.0)
        self._streams[client] = _Stream(client, server, sender, receiver)
        self._streams[server] = _Stream(server, client, receiver, sender)

    def _read(self, stream: _Stream, now: float) -> None:
        try:
            data = stream.source.recv(_READ_BYTES)
        except OSError:
            data = b""
        if stream.sender in self._unplugged or stream.receiver in self._unplugged:
            if not data:
                self._drop(stream)
            return
        if data:
            leave = self._ports.setdefault(stream.sender, Port())
            enter = self._ports.setdefault(stream.receiver, Port())
            stream.last_due = self._clock.due(len(data), now, leave, enter, stream.last_due)
        else:
            stream.ended = True
        stream.queue.append((max(stream.last_due, now), data))
        stream.queued += len(data) or _QUEUED_BYTES  # an ended stream is not read again

    def _deliver(self, now: float) -> float | None:
        """Send everything that is due; returns when the next bytes are."""
        following = None
        for stream in list(self._streams.values()):
            while stream.queue and stream.queue[0][0] <= now:
                if not self._send(stream):
                    break
            if stream.queue and (following is None or stream.queue[0][0] < following):
                following = stream.queue[0][0]
        return following

    def _send(self, stream: _Stream) -> bool:
        """Send the first chunk of a stream; False if that was the end of the connection."""
        _, data = stream.queue.popleft()
        stream.queued -= len(data)
        try:
            if data:
                stream.target.sendall(data)
                return True
        except OSError:
            pass
        self._drop(stream)
        return False

    def _drop(self, stream: _Stream) -> None:
        """Close both directions of a connection."""
        for side in (stream.source, stream.target):
            end = self._streams.pop(side, None)
            if end is not None:
                end.queue.clear()
            side.close()


def _precise_timers() -> None:
    """Ask Linux to wake this thread to the microsecond instead of within 50 of them."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
