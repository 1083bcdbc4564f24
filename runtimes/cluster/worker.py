"""A worker: one listening port, one thread, any number of sessions one after another.

It outlives its heads. What it is asked by a head it does, or answers with one line that says why
not; what comes from anyone else is counted, logged and dropped.
"""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from hmac import compare_digest
from pathlib import Path

from runtimes.cluster import messages as m
from runtimes.cluster.buffers import Rows
from runtimes.cluster.keys import KeyRing
from runtimes.cluster.links import Links, Peer
from runtimes.cluster.port import Port
from runtimes.cluster.session import WorkerSession, check_hidden
from runtimes.cluster.step import OpenEngine, run_layers, send_logits
from runtimes.cluster.transfer import WINDOW, Download, ShardCache
from runtimes.cluster.usage import peak_rss
from runtimes.cluster.wire import Frame, Header, Kind, WireError
from toolchain import __version__
from toolchain.errors import DeviceError, FitError, InternalError, TesseraError

_log = logging.getLogger("tessera.worker")
_PATIENCE_S = 20.0  # an exchange that waits longer is given up; the head has noticed long ago
_ORDERS = (Kind.HIDDEN, Kind.TRUNCATE)


class _Interrupted(Exception):  # noqa: N818 - control flow, no error
    """The head wants something else than what this worker waits for."""

    def __init__(self, peer: Peer, message: m.Message) -> None:
        super().__init__()
        self.peer = peer
        self.message = message


@dataclass(frozen=True)
class WorkerOptions:
    """How a worker presents itself.

    Attributes:
        listen: ``host:port``; port 0 takes a free one.
        cache: folder of shards.
        name: for people, in messages of the head.
        max_ram: bytes this process may use, 0 for no limit.
        keys: own and accepted CURVE keys; None for an open port.
    """

    listen: str
    cache: Path
    name: str = ""
    max_ram: int = 0
    keys: KeyRing | None = None


class Worker:
    """Listens until `close`; see the module.

    Args:
        options: where and how.
        open_engine: makes the engine of a shard file.

    Raises:
        DeviceError: E526, the port is in use or the address is not one of this device.
    """

    def __init__(self, options: WorkerOptions, open_engine: OpenEngine) -> None:
        self._options = options
        self._open_engine = open_engine
        self._cache = ShardCache(options.cache)
        self._port = Port(options.listen, options.keys)
        self._head: Peer | None = None
        self._session: WorkerSession | None = None
        self._awaited: tuple[int, ...] = ()
        self._open = True

    @property
    def address(self) -> str:
        """``host:port`` it listens on."""
        return self._port.address

    def serve(self) -> None:
        """Answer until interrupted (KeyboardInterrupt, SystemExit)."""
        task: _Interrupted | None = None
        while self._open:
            try:
                if task is not None:
                    interrupted, task = task, None
                    self._obey(interrupted.peer, interrupted.message)
                else:
                    late = self._links.postponed() if self._links is not None else None
                    delivery = late or self._port.mailbox.receive(None)
                    if delivery is not None:
                        self._handle(*delivery)
            except _Interrupted as interruption:
                task = interruption

    def close(self) -> None:
        """Close all sockets, engines and threads."""
        self._open = False
        self._end_session()
        self._port.close()

    def other(self, peer: Peer, frame: Frame) -> None:
        """Handle what arrives in the middle of an exchange (`Attendant`)."""
        message = self._decode(peer, frame)
        if frame.header.kind in _ORDERS and peer == self._head and self._links is not None:
            self._links.postpone(peer, frame)
        elif isinstance(message, m.Probe) and peer == self._head:
            peer.tell(m.Status(message.epoch, self._awaited))
        elif isinstance(message, m.Hello) and self._has_other_head(peer):
            peer.tell(self._welcome(peer))
        elif isinstance(message, m.Hello) or (message is not None and peer == self._head):
            raise _Interrupted(peer, message)

    def waiting(self, seconds: float, devices: frozenset[int]) -> None:
        """Keep waiting for a while (`Attendant`)."""
        self._awaited = tuple(sorted(devices))
        if seconds > _PATIENCE_S:
            raise DeviceError("E520", f"no partial sums from devices {sorted(devices)}")

    @property
    def _links(self) -> Links | None:
        return self._session.links if self._session is not None else None

    def _handle(self, peer: Peer, frame: Frame) -> None:
        """One frame between steps."""
        session = self._session
        epoch = session.order.epoch if session is not None else 0
        message = self._decode(peer, frame)
        if message is not None:
            self._reporting(peer, epoch, lambda: self._obey(peer, message))
        elif frame.header.kind is Kind.ECHO:
            peer.send(Header(Kind.ECHO, step=frame.header.step))
        elif session is not None and frame.header.kind is Kind.PARTIAL and session.links:
            session.links.keep(peer, frame)  # a faster worker is a step ahead of the head's frame
        elif session is not None and peer == self._head:
            self._reporting(peer, epoch, lambda: self._compute(session, frame))

    def _decode(self, peer: Peer, frame: Frame) -> m.Message | None:
        """Read a control message; nothing if it is none or malformed, which is logged."""
        if frame.header.kind is not Kind.CONTROL:
            return None
        try:
            return m.decode(frame.payload)
        except WireError as error:
            self._port.refuse(peer, error)
            return None

    def _obey(self, peer: Peer, message: m.Message) -> None:
        if isinstance(message, m.Hello):
            peer.tell(self._welcome(peer))
        elif isinstance(message, m.Join):
            self._join(peer, message)
        elif isinstance(message, m.Prefetch | m.Assign) and self._has_other_head(peer):
            self._fail(peer, message.epoch, DeviceError("E524", "serves another head"))
        elif isinstance(message, m.Prefetch):
            self._head = peer
            self._reporting(peer, message.epoch, lambda: self._prefetch(peer, message))
        elif isinstance(message, m.Assign):
            self._head = peer
            self._reporting(peer, message.epoch, lambda: self._assign(peer, message))
        elif peer == self._head:
            self._obey_head(peer, message)

    def _obey_head(self, peer: Peer, message: m.Message) -> None:
        if isinstance(message, m.Connect) and self._session is not None:
            session = self._session
            self._reporting(peer, message.epoch, lambda: self._connect(peer, session))
        elif isinstance(message, m.Report):
            peer.tell(m.Report(peak_rss()))
        elif isinstance(message, m.Probe):
            peer.tell(m.Status(message.epoch, ()))
        elif isinstance(message, m.Leave):
            _log.info("session over")
            self._head = None

    def _reporting(self, peer: Peer, epoch: int, action: Callable[[], None]) -> None:
        """Do something for the head; what goes wrong becomes one line here and there."""
        try:
            action()
        except WireError as error:
            self._port.refuse(peer, error)
        except TesseraError as error:
            self._fail(peer, epoch, error)
        except MemoryError:
            self._fail(peer, epoch, FitError("E311", "out of memory"))
        except OSError as error:
            self._fail(peer, epoch, DeviceError("E527", f"{type(error).__name__}: {error}"))
        except _Interrupted:
            raise
        except Exception as error:
            _log.exception("a bug; the worker goes on")
            self._fail(peer, epoch, InternalError("E900", f"{type(error).__name__}: {error}"))

    def _welcome(self, peer: Peer) -> m.Welcome:
        loaded = self._session.digests if self._session is not None else ()
        return m.Welcome(
            version=__version__,
            name=self._options.name or platform.node(),
            max_ram=self._options.max_ram,
            cached=self._cache.digests()[:64],
            loaded=loaded,
            busy=self._has_other_head(peer),
        )

    def _has_other_head(self, peer: Peer) -> bool:
        """Whether another head is connected; one that crashed is not, after its heartbeat."""
        if self._head is None or self._head == peer:
            return False
        status = m.Status(0, ())
        return self._head.tell(status)

    def _prefetch(self, peer: Peer, order: m.Prefetch) -> None:
        """Pull the shards that the cache lacks."""
        received = 0
        for info in order.shards:
            if not self._cache.has(info):
                received += self._fetch(peer, order.epoch, info)
        peer.tell(m.Cached(order.epoch, received))

    def _fetch(self, peer: Peer, epoch: int, info: m.ShardInfo) -> int:
        download = Download(self._cache, info)
        _log.info("fetching the shard of rank %d from chunk %d", info.rank, download.next)
        asked = download.next
        while not download.done:
            if asked - download.next <= WINDOW // 2 and asked < download.chunks:
                count = min(WINDOW // 2, download.chunks - asked)
                peer.tell(m.Fetch(epoch, info.digest, asked, count))
                asked += count
            delivery = self._port.mailbox.receive(_PATIENCE_S)
            if delivery is None:
                raise DeviceError("E520", "the head stopped sending the shard")
            source, frame = delivery
            if frame.header.kind is Kind.CHUNK and source == self._head:
                download.accept(frame.header.step, frame.payload)
            else:
                self.other(source, frame)
        download.finish()
        return download.received

    def _assign(self, peer: Peer, order: m.Assign) -> None:
        """Load the engines of a session, keeping those that are loaded already."""
        for info in order.shards:
            if not self._cache.has(info):
                raise DeviceError("E525", f"the shard of rank {info.rank} is not in the cache")
        self._unlink()
        keep = self._session.release() if self._session is not None else {}
        self._session = None
        self._session = WorkerSession(
            order, self._cache, self._open_engine, keep, self._options.max_ram
        )
        _log.info("device %d of %d, ranks %s", order.device, len(order.members), self._session.own)
        peer.tell(m.Loaded(order.epoch))

    def _connect(self, peer: Peer, session: WorkerSession) -> None:
        """Open links to the workers with higher numbers, wait for those with lower ones."""
        for device in session.higher():
            session.peers[device] = self._port.dial(session.order.members[device])
            session.peers[device].tell(m.Join(session.order.session, session.device))
        end = time.monotonic() + _PATIENCE_S
        while not session.lower_joined() and time.monotonic() < end:
            delivery = self._port.mailbox.receive(0.1)
            if delivery is None:
                continue
            source, frame = delivery
            message = self._decode(source, frame)
            if isinstance(message, m.Join):
                self._join(source, message)
            elif message is not None and source == self._head:
                raise _Interrupted(source, message)
        if not session.lower_joined():
            raise DeviceError("E520", f"devices below {session.device} did not connect")
        session.open_links(self._port.mailbox, peer, self)
        peer.tell(m.Ready(session.order.epoch))

    def _join(self, peer: Peer, message: m.Join) -> None:
        """Another worker says which device of the session it is; the token proves it."""
        session = self._session
        if session is None or not compare_digest(
            message.session.encode(), session.order.session.encode()
        ):
            _log.warning("a peer tried to join a session that is not this one")
        elif message.device in session.lower():
            session.peers[message.device] = peer

    def _compute(self, session: WorkerSession, frame: Frame) -> None:
        header = frame.header
        if header.epoch != session.order.epoch or session.links is None:
            return
        if header.kind is Kind.TRUNCATE:
            session.truncate(header.slot, header.position)
        elif header.kind is Kind.HIDDEN:
            check_hidden(session.order, header, len(frame.payload))
            hidden = Rows.copy_of(frame.payload, session.order.hidden)
            session.links.begin(header.step)
            hidden = run_layers(
                session.engines,
                session.exchange,
                hidden,
                step=header.step,
                slot=header.slot,
                position=header.position,
            )
            if header.wanted:
                last = hidden.last(header.wanted)
                send_logits(session.links, header.step, session.engines, last)

    def _fail(self, peer: Peer, epoch: int, error: TesseraError) -> None:
        _log.error("%s", error)
        peer.tell(m.Failed(epoch, error.code, error.what[:1000], error.exit_code))

    def _unlink(self) -> None:
        """Close the links to other workers."""
        if self._session is not None:
            for peer in self._session.dialled():
                self._port.mailbox.drop(peer.socket)
            self._session.peers.clear()

    def _end_session(self) -> None:
        self._unlink()
        if self._session is not None:
            self._session.close()
            self._session = None
