"""The head's side of the conversation with its workers."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import zmq

from runtimes.cluster import messages as m
from runtimes.cluster.keys import KeyRing, open_dealer
from runtimes.cluster.links import Mailbox, Peer, PeerGone
from runtimes.cluster.transfer import StoredShard, find_shard
from runtimes.cluster.wire import Frame, Header, Kind, WireError
from toolchain import __version__
from toolchain.errors import DeviceError, FitError, ModelError, TesseraError

_Reply = TypeVar("_Reply", bound=m.Message)
_BY_EXIT = {2: ModelError, 3: FitError}
_PASSING = ("E520", "E524")  # what may be otherwise the next time
_GRACE_S = 0.5  # for a device that is probably gone to say that it is not


@dataclass(frozen=True)
class WorkerAddress:
    """Where a worker is.

    Attributes:
        address: ``host:port`` as the head reaches it.
        key: its public CURVE key, empty without encryption.
        routes: ``host:port`` as other workers reach it, by their index, where it differs.
    """

    address: str
    key: str = ""
    routes: Mapping[int, str] = field(default_factory=dict)

    def seen_from(self, worker: int) -> str:
        """``host:port`` as worker number ``worker`` reaches it."""
        return self.routes.get(worker, self.address)


class WorkersLost(Exception):  # noqa: N818 - handled by recovery, an error only if that fails
    """Some workers are gone or failed.

    Attributes:
        workers: their indices.
        error: what a user would be told.
        final: a worker said that it cannot do this: asking it again is no use.
    """

    def __init__(self, workers: Sequence[int], error: TesseraError, *, final: bool = False) -> None:
        super().__init__(workers, error)
        self.workers = tuple(workers)
        self.error = error
        self.final = final


class Crew:
    """Connections to all workers, by index in the list of addresses.

    Args:
        addresses: of the workers.
        keys: of the head; None without encryption.
        shards: files that workers may ask for.
    """

    def __init__(
        self,
        addresses: Sequence[WorkerAddress],
        keys: KeyRing | None,
        shards: Sequence[StoredShard],
    ) -> None:
        self.addresses = tuple(addresses)
        self.mailbox = Mailbox(self._refuse)
        self.sent_bytes = 0
        self.epoch = 0
        self._keys = keys
        self._shards = tuple(shards)
        self._context = zmq.Context(io_threads=1)
        self._peers: dict[int, Peer] = {}
        self._known: set[int] = set()  # have answered: their keys are right
        self._index: dict[Peer, int] = {}

    def peer(self, worker: int) -> Peer:
        """Return the connection to a worker, opened when first needed."""
        if worker not in self._peers:
            self._dial(worker)
        return self._peers[worker]

    def index(self, peer: Peer) -> int:
        """Return the number of a worker."""
        return self._index[peer]

    def hang_up(self, worker: int) -> None:
        """Close a connection; the next use opens a new one."""
        peer = self._peers.pop(worker, None)
        if peer is not None:
            del self._index[peer]
            self.mailbox.drop(peer.socket)

    def keep(self, workers: Collection[int]) -> None:
        """Close the connections to all others: what becomes of those is no loss any more."""
        for worker in set(self._peers) - set(workers):
            self.hang_up(worker)

    def close(self) -> None:
        """Close all connections."""
        for worker in list(self._peers):
            self.hang_up(worker)
        self._context.term()

    def tell(self, worker: int, message: m.Message) -> None:
        """Send a message."""
        self.peer(worker).tell(message)

    def hello(
        self, required: Sequence[int], optional: Sequence[int], timeout_s: float
    ) -> dict[int, m.Welcome]:
        """Ask workers who they are.

        Args:
            required: have until ``timeout_s`` to answer, or until their connection ends.
            optional: have half a second (spares, and those that were just lost).
            timeout_s: for the required ones.

        Returns:
            What those that answered said.

        Raises:
            WorkersLost: with E523, a worker refused the key or is no Tessera worker.
        """
        answers: dict[int, m.Welcome] = {}
        patient, asked = set(required), {*required, *optional}
        for worker in asked:
            self.tell(worker, m.Hello(__version__))
        began = time.monotonic()
        while asked:
            waited = time.monotonic() - began
            if waited > timeout_s or (waited > _GRACE_S and not asked & patient):
                break
            try:
                delivery = self.mailbox.receive(0.05)
            except PeerGone as gone:
                patient.discard(self._gone(gone, asked))
                continue
            if delivery is None:
                continue
            worker, message = self._message(*delivery)
            if isinstance(message, m.Welcome):
                answers[worker] = message
                asked.discard(worker)
                self._known.add(worker)
        return answers

    def ask(
        self, requests: Mapping[int, m.Message], reply: type[_Reply], timeout_s: float
    ) -> dict[int, _Reply]:
        """Send each worker its request and `wait` for all answers."""
        for worker, request in requests.items():
            self.tell(worker, request)
        return self.wait(list(requests), reply, timeout_s)

    def wait(
        self, workers: Sequence[int], reply: type[_Reply], timeout_s: float
    ) -> dict[int, _Reply]:
        """Wait until all workers have answered, serving shards meanwhile.

        Raises:
            WorkersLost: E520, a connection ended or nobody said anything for ``timeout_s``; or
                the error that a worker reported.
        """
        answers: dict[int, _Reply] = {}
        silent_since = time.monotonic()
        while missing := [worker for worker in workers if worker not in answers]:
            try:
                delivery = self.mailbox.receive(0.1)
            except PeerGone as gone:
                raise self.lost(gone) from None
            if delivery is None:
                if time.monotonic() - silent_since > timeout_s:
                    raise WorkersLost(missing, self.silent(missing))
                continue
            silent_since = time.monotonic()
            worker, message = self._message(*delivery)
            if isinstance(message, reply) and worker in workers:
                answers[worker] = message
        return answers

    def lost(self, gone: PeerGone) -> WorkersLost:
        """Name the worker whose connection ended."""
        worker = self._index[gone.peer]
        return WorkersLost([worker], self._error_of(worker, refused=self._refused(gone)))

    def silent(self, workers: Sequence[int]) -> TesseraError:
        """Return the error that names workers which do not answer."""
        names = ", ".join(self.addresses[worker].address for worker in workers)
        return DeviceError(
            "E520",
            f"no answer from {names}",
            hints=[
                f"tessera cluster worker --listen {self.addresses[worker].address}"
                for worker in workers
            ],
        )

    def message(self, peer: Peer, frame: Frame) -> m.Message | None:
        """Read a control frame; see `_message`."""
        return self._message(peer, frame)[1]

    def _message(self, peer: Peer, frame: Frame) -> tuple[int, m.Message | None]:
        """Decode a control frame, serve it if it is a fetch, raise it if it is a failure."""
        worker = self._index[peer]
        if frame.header.kind is not Kind.CONTROL:
            return worker, None
        message = m.decode(frame.payload)
        if isinstance(message, m.Fetch):
            self._serve(peer, message)
        if isinstance(message, m.Failed) and message.epoch in (0, self.epoch):
            kind = _BY_EXIT.get(message.exit_code, DeviceError)
            where = f"worker {self.addresses[worker].address}"
            error = kind(message.code[:8], message.what, where=where)
            raise WorkersLost([worker], error, final=message.code not in _PASSING)
        return worker, message

    def _serve(self, peer: Peer, request: m.Fetch) -> None:
        """Send chunks of a shard that belongs to this cluster."""
        shard = find_shard(self._shards, request.digest)
        if shard is None:
            return
        for index in range(request.first, request.first + min(request.count, 64)):
            chunk = shard.chunk(index)
            if not chunk:
                break
            header = Header(Kind.CHUNK, epoch=request.epoch, step=index, length=len(chunk))
            peer.send(header, chunk)
            self.sent_bytes += len(chunk)

    def _gone(self, gone: PeerGone, asked: set[int]) -> int:
        """While saying hello: a refusal is final, anything else may yet come back, but soon."""
        worker = self._index[gone.peer]
        if self._refused(gone) and worker in asked:
            raise WorkersLost([worker], self._error_of(worker, refused=True), final=True)
        return worker

    def _refused(self, gone: PeerGone) -> bool:
        """Whether keys differ; a stopped process that was here before fails handshakes as well."""
        return gone.refused and self._index[gone.peer] not in self._known

    def _error_of(self, worker: int, *, refused: bool) -> TesseraError:
        address = self.addresses[worker].address
        if refused:
            return DeviceError(
                "E523",
                f"{address} refused the connection: its key or ours is not the agreed one",
                hints=["copy both .key files into the key folder of both devices"],
            )
        return DeviceError("E520", f"lost the connection to {address}")

    def _refuse(self, peer: Peer, error: WireError) -> None:
        """Give up a worker that sends malformed frames or speaks another version."""
        raise WorkersLost([self._index[peer]], error, final=True)

    def _dial(self, worker: int) -> None:
        address = self.addresses[worker]
        dealer = open_dealer(self._context, self._keys, address.key)
        peer = Peer(dealer)
        self._peers[worker], self._index[peer] = peer, worker
        self.mailbox.add(dealer)
        self.mailbox.watch(peer)
        try:
            dealer.connect(f"tcp://{address.address}")
        except zmq.ZMQError as error:
            raise DeviceError(
                "E520", f"not an address of a worker: {address.address} ({error.strerror})"
            ) from None
