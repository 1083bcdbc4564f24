"""The port of a worker: what listens, the links dialled from it, and the bad frames they bring."""

from __future__ import annotations

import logging
import time

import zmq

from runtimes.cluster import messages as m
from runtimes.cluster.keys import KeyRing, open_dealer
from runtimes.cluster.links import Mailbox, Peer, Socket, tune
from runtimes.cluster.wire import WireError
from toolchain.errors import DeviceError

_log = logging.getLogger("tessera.worker")
_REFUSALS_LOGGED_PER_S = 5.0


class Port:
    """Listens until `close`.

    Args:
        listen: ``host:port``; port 0 takes a free one.
        keys: own and accepted CURVE keys; None for an open port.

    Attributes:
        mailbox: what came in, over all links.

    Raises:
        DeviceError: E526, the port is in use or the address is not one of this device.
    """

    def __init__(self, listen: str, keys: KeyRing | None) -> None:
        self._keys = keys
        self._context = zmq.Context(io_threads=1)
        self._guard = keys.guard(self._context, _log) if keys else None
        self._router: Socket = self._context.socket(zmq.ROUTER)
        self._refusals = _REFUSALS_LOGGED_PER_S
        self._refused_at = time.monotonic()
        self.mailbox = Mailbox(self.refuse)
        self.mailbox.add(self._router)
        if keys is not None:
            self.mailbox.watch(Peer(self._router))
        self._bind(listen)

    @property
    def address(self) -> str:
        """``host:port`` it listens on."""
        return str(self._router.getsockopt_string(zmq.LAST_ENDPOINT)).removeprefix("tcp://")

    def dial(self, member: m.Member) -> Peer:
        """Open a link to another worker."""
        dealer = open_dealer(self._context, self._keys, member.key)
        self.mailbox.add(dealer)
        dealer.connect(f"tcp://{member.address}")
        return Peer(dealer)

    def refuse(self, peer: Peer, error: WireError) -> None:
        """Log a bad frame or peer, but no flood of them; tell a peer of another version."""
        now = time.monotonic()
        earned = (now - self._refused_at) * _REFUSALS_LOGGED_PER_S
        self._refusals = min(self._refusals + earned, _REFUSALS_LOGGED_PER_S)
        self._refused_at = now
        if self._refusals < 1:
            return
        self._refusals -= 1
        what = "refused a peer" if error.code == "E523" else "dropped a frame"
        _log.warning("%s: %s", what, error.what)
        if error.code == "E522":
            peer.tell(m.Failed(0, error.code, error.what, error.exit_code))

    def close(self) -> None:
        """Close the port and its threads; links that were dialled must be dropped before."""
        self.mailbox.drop(self._router)
        if self._guard is not None:
            self._guard.stop()
        self._context.term()

    def _bind(self, listen: str) -> None:
        tune(self._router)
        self._router.setsockopt(zmq.ROUTER_MANDATORY, 1)
        if self._keys is not None:
            self._keys.serve(self._router)
        try:
            self._router.bind(f"tcp://{listen}")
        except zmq.ZMQError as error:
            self.close()
            host, _, port = listen.rpartition(":")
            reason = zmq.strerror(error.errno or 0).lower()
            raise DeviceError(
                "E526",
                f"cannot listen on {listen}: {reason}",
                numbers={"errno": error.errno},
                hints=[f"tessera cluster worker --listen {host}:{_next(port)}"],
            ) from None


def _next(port: str) -> int:
    return int(port) + 1 if port.isdigit() and int(port) < 65535 else 9500
