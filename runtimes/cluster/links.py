"""Sockets of one device: a mailbox that waits without spinning, links to the other devices.

Sends never block the caller for long (ZeroMQ's I/O thread owns the connections, queues are
bounded), so "everyone sends first, then reads" cannot deadlock. ZMTP heartbeats run in the I/O
thread: a dead cable or a stopped process closes the connection even while Python computes.
"""

from __future__ import annotations

import math
import struct
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeAlias

import zmq

from runtimes.cluster.messages import Message, encode
from runtimes.cluster.wire import MAX_FRAME, Frame, Header, Kind, WireError, parse

Socket: TypeAlias = "zmq.Socket[bytes]"

HEARTBEAT_MS = 300
DEAD_MS = 1200  # silence after which a connection counts as dead
QUEUE_FRAMES = 16  # per peer and direction: bounds memory to 16 MiB per peer
_WAIT_SLICE_S = 0.1
_EVENT = struct.Struct("=Hi")  # of a monitor; zmq.utils.monitor would load asyncio: 7 MB
_EARLY_FRAMES = 16  # per peer
_POSTPONED = 1 << 10  # as many as there may be slots to truncate
# No CURVE, or not with our key; whose key is unknown to the guard it logs itself.
_REFUSED = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
_MONITORED = zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_FAILED_AUTH | _REFUSED


class Peer(NamedTuple):
    """The far end of a connection.

    Attributes:
        socket: the socket that reaches it.
        identity: its routing id where the socket is a ROUTER.
    """

    socket: Socket
    identity: bytes | None = None

    def send(self, header: Header, payload: bytes | bytearray | memoryview = b"") -> bool:
        """Queue one frame; see `send_bytes`."""
        return self.send_bytes(header.pack() + payload)

    def tell(self, message: Message) -> bool:
        """Queue a control message; see `send_bytes`."""
        payload = encode(message)
        return self.send(Header(Kind.CONTROL, length=len(payload)), payload)

    def send_bytes(self, frame: bytes | bytearray | memoryview) -> bool:
        """Queue a frame that is already complete.

        Returns:
            False if there is no connection to the peer or its queue stays full; who waits for
            that peer learns it by the connection's end, not here.
        """
        try:
            if self.identity is not None:
                self.socket.send(self.identity, zmq.SNDMORE)
            self.socket.send(frame)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                raise
            return False
        return True


class PeerGone(Exception):  # noqa: N818 - a notice between modules, no error of ours
    """The connection of a monitored peer ended.

    Attributes:
        peer: which.
        refused: the handshake failed: wrong key, or not a Tessera device.
    """

    def __init__(self, peer: Peer, *, refused: bool) -> None:
        super().__init__(peer, refused)
        self.peer = peer
        self.refused = refused


def tune(socket: Socket) -> None:
    """Set limits, heartbeats and timeouts before a socket binds or connects."""
    options: dict[int, Any] = {
        zmq.LINGER: 200,
        zmq.SNDHWM: QUEUE_FRAMES,
        zmq.RCVHWM: QUEUE_FRAMES,
        zmq.MAXMSGSIZE: MAX_FRAME,  # the connection is dropped before anything is allocated
        zmq.SNDTIMEO: 2000,
        zmq.HEARTBEAT_IVL: HEARTBEAT_MS,
        zmq.HEARTBEAT_TIMEOUT: DEAD_MS,
        zmq.HEARTBEAT_TTL: DEAD_MS,
        zmq.HANDSHAKE_IVL: 3000,
        zmq.RECONNECT_IVL: 50,
        zmq.RECONNECT_IVL_MAX: 1000,
        zmq.IPV6: 1,
    }
    for option, value in options.items():
        socket.setsockopt(option, value)


class Mailbox:
    """Waits on all sockets of a device at once and checks what arrives.

    Args:
        refuse: called with the sender of a malformed frame and what is wrong with it.
    """

    def __init__(self, refuse: Callable[[Peer, WireError], None]) -> None:
        self._refuse = refuse
        self._poller = zmq.Poller()
        self._monitors: dict[Socket, Peer] = {}
        self._routers: set[Socket] = set()
        self._ready: list[Socket] = []  # each has a frame that was not read yet

    def add(self, socket: Socket) -> None:
        """Receive from a ROUTER or DEALER."""
        self._poller.register(socket, zmq.POLLIN)
        if socket.type == zmq.ROUTER:
            self._routers.add(socket)

    def watch(self, peer: Peer) -> None:
        """Report the end of a DEALER's connection as `PeerGone`, who a ROUTER refuses as E523."""
        events = _REFUSED if peer.socket in self._routers else _MONITORED
        monitor = peer.socket.get_monitor_socket(events)
        self._monitors[monitor] = peer
        self._poller.register(monitor, zmq.POLLIN)

    def drop(self, socket: Socket) -> None:
        """Stop receiving from a socket and close it."""
        for monitor in [m for m, peer in self._monitors.items() if peer.socket is socket]:
            self._poller.unregister(monitor)
            del self._monitors[monitor]
            socket.disable_monitor()
            monitor.close(0)
        self._poller.unregister(socket)
        self._routers.discard(socket)
        self._ready = [ready for ready in self._ready if ready is not socket]
        socket.close()

    def receive(self, timeout_s: float | None) -> tuple[Peer, Frame] | None:
        """Return the next well-formed frame and its sender, or None after ``timeout_s``.

        Raises:
            PeerGone: a watched connection ended; frames that came before it were delivered.
        """
        delivery = self._unread()
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while delivery is None:
            left = None if end is None else math.ceil(max(0.0, end - time.monotonic()) * 1e3)
            ready = [socket for socket, _ in self._poller.poll(left)]
            self._ready = [socket for socket in ready if socket not in self._monitors]
            delivery = self._unread()
            if delivery is None:
                for monitor in (s for s in ready if s in self._monitors):
                    self._gone(monitor)
                if end is not None and time.monotonic() >= end:
                    return None
        return delivery

    def _unread(self) -> tuple[Peer, Frame] | None:
        """Read a frame that the last poll found; polling costs more than reading."""
        while self._ready:
            delivery = self._read(self._ready.pop())
            if delivery is not None:
                return delivery
        return None

    def _read(self, socket: Socket) -> tuple[Peer, Frame] | None:
        identity, part = None, socket.recv(copy=False)
        if socket in self._routers:
            identity = part.bytes
            part = socket.recv(copy=False) if part.more else zmq.Frame()
        peer, data, extra = Peer(socket, identity), part.buffer, 0
        while part.more:
            part = socket.recv(copy=False)
            extra += 1
        try:
            if extra:
                raise WireError("E521", f"malformed frame: {extra} parts too many")
            return peer, parse(data)
        except WireError as error:
            self._refuse(peer, error)
            return None

    def _gone(self, monitor: Socket) -> None:
        event, _ = _EVENT.unpack(monitor.recv_multipart(zmq.NOBLOCK)[0])
        peer = self._monitors[monitor]
        if peer.socket not in self._routers:
            raise PeerGone(peer, refused=event != zmq.EVENT_DISCONNECTED)
        self._refuse(peer, WireError("E523", "it has no key, or not this device's public one"))


class Attendant(Protocol):
    """What a device does about events while it waits for partial sums."""

    def other(self, peer: Peer, frame: Frame) -> None:
        """Handle a frame that is not part of the exchange; may raise to leave it."""
        ...

    def waiting(self, seconds: float, devices: frozenset[int]) -> None:
        """Hear now and then how long and for whom; may raise to leave."""
        ...


Sink: TypeAlias = Callable[[int, Frame], None]


class Links:
    """The other devices of a session.

    Args:
        mailbox: where their frames arrive.
        device: own index in the session.
        epoch: of the session; frames of other epochs are stale and dropped.
        peers: device index to peer.
        attendant: who handles everything else that arrives meanwhile.
    """

    def __init__(
        self,
        mailbox: Mailbox,
        device: int,
        epoch: int,
        peers: dict[int, Peer],
        attendant: Attendant,
    ) -> None:
        self.device = device
        self.epoch = epoch
        self.peers = peers
        self._mailbox = mailbox
        self._attendant = attendant
        self._devices = {peer: device for device, peer in peers.items()}
        self._early: dict[tuple[int, ...], bytes] = {}
        self._postponed: deque[tuple[Peer, Frame]] = deque()

    def begin(self, step: int) -> None:
        """Forget frames that came for another step than the one that begins."""
        self._early = {place: frame for place, frame in self._early.items() if place[2] == step}

    def keep(self, peer: Peer, frame: Frame) -> None:
        """Keep a frame that came before it was waited for: a peer may be a step ahead."""
        device = self._devices.get(peer)
        if device is None or frame.header.epoch != self.epoch:
            return
        if len(self._early) < _EARLY_FRAMES * len(self.peers):
            self._early[device, *_place(frame.header)] = frame.header.pack() + frame.payload

    def postpone(self, peer: Peer, frame: Frame) -> None:
        """Keep an order of the head until the step is over.

        A head that needs no logits of this device begins the next step as soon as it has its own
        sum, while this device may still wait for others. It cannot be further ahead than that.
        """
        begun = [old for _, old in self._postponed if old.header.kind is Kind.HIDDEN]
        if len(self._postponed) < _POSTPONED and not (begun and frame.header.kind is Kind.HIDDEN):
            kept = Frame(frame.header, memoryview(bytes(frame.payload)))
            self._postponed.append((peer, kept))

    def postponed(self) -> tuple[Peer, Frame] | None:
        """Take the oldest frame that was postponed, with its sender."""
        return self._postponed.popleft() if self._postponed else None

    def collect(self, header: Header, devices: frozenset[int], sink: Sink) -> None:
        """Wait for one frame of the same kind, step, block and stage from each device.

        Args:
            header: what to wait for (kind, step, block, stage).
            devices: from whom.
            sink: called with device and frame as each arrives; must use the payload at once.
        """
        pending = set(devices)
        for device in devices:
            early = self._early.pop((device, *_place(header)), None)
            if early is not None:
                sink(device, parse(early))
                pending.remove(device)
        began = time.monotonic()
        while pending:
            delivery = self._mailbox.receive(_WAIT_SLICE_S)
            if delivery is None:
                self._attendant.waiting(time.monotonic() - began, frozenset(pending))
                continue
            sender = self._sort(header, pending, *delivery)
            if sender is not None:
                sink(sender, delivery[1])
                pending.remove(sender)

    def _sort(self, expected: Header, pending: set[int], peer: Peer, frame: Frame) -> int | None:
        """Return the device if the frame is awaited; keep it if early; pass it on if foreign."""
        got = frame.header
        device = self._devices.get(peer)
        if device is None or got.kind not in (Kind.PARTIAL, Kind.LOGITS):
            self._attendant.other(peer, frame)
            return None
        if got.epoch == self.epoch and _place(got) == _place(expected):
            return device if device in pending else None
        self.keep(peer, frame)
        return None


def _place(header: Header) -> tuple[int, int, int, int]:
    """Say what a frame is for, within its session."""
    return header.kind, header.step, header.block, header.stage
