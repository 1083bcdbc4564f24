"""CURVE keys: who may speak to whom, and encryption of all that is said.

A cluster is a folder of public keys ``<name>.key`` that every device holds; a device's own secret
is ``<name>.key_secret`` beside it (mode 600). Both sides of every connection prove theirs
(CurveZMQ, rfc.zeromq.org/spec/26); a key outside the folder is refused and logged.
"""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zmq

from runtimes.cluster.links import Socket, tune
from toolchain.errors import UsageError

_KEY = re.compile(r"[0-9A-Za-z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")  # Z85, RFC 32 of ZeroMQ
_DOMAIN = "tessera"
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True)
class KeyRing:
    """A device's own key pair and the public keys it accepts.

    Attributes:
        name: of this device.
        public: own public key, Z85.
        secret: own secret key, Z85.
        accepted: public key to name.
    """

    name: str
    public: str
    secret: str = field(repr=False)
    accepted: dict[str, str]

    @classmethod
    def load(cls, secret: Path) -> KeyRing:
        """Read ``<name>.key_secret`` and all public keys beside it.

        Raises:
            UsageError: E140, the file is missing or holds no key, or others may read it.
        """
        if not secret.is_file():
            raise _bad(secret, "no such key", f"tessera cluster keygen {secret.stem}")
        if secret.stat().st_mode & 0o077:
            raise _bad(secret, "others may read this secret key", f"chmod 600 {secret}")
        own = _read(secret)
        public = zmq.curve_public(own.encode()).decode()
        others = {_read(path): path.stem for path in sorted(secret.parent.glob("*.key"))}
        return cls(secret.stem, public, own, others)

    def serve(self, router: Socket) -> None:
        """Make a socket, before it binds, accept only known keys."""
        router.setsockopt(zmq.CURVE_SERVER, 1)
        router.setsockopt_string(zmq.CURVE_SECRETKEY, self.secret)
        router.setsockopt_string(zmq.ZAP_DOMAIN, _DOMAIN)

    def dial(self, dealer: Socket, server: str) -> None:
        """Make a socket, before it connects, prove itself to the owner of key ``server``.

        Raises:
            UsageError: E140, the key of that device is unknown here.
        """
        if server not in self.accepted:
            raise UsageError(
                "E140",
                f"the key {server[:8] or '(none)'}... of a device is not in the key folder",
                hints=["copy its .key file beside your .key_secret, and name it in cluster.toml"],
            )
        dealer.setsockopt_string(zmq.CURVE_SERVERKEY, server)
        dealer.setsockopt_string(zmq.CURVE_PUBLICKEY, self.public)
        dealer.setsockopt_string(zmq.CURVE_SECRETKEY, self.secret)

    def guard(self, context: zmq.Context[Any], log: logging.Logger) -> Guard:
        """Start answering libzmq's questions about keys (ZAP, RFC 27); call before binding."""
        return Guard(context, self.accepted, log)


def open_dealer(context: zmq.Context[Any], keys: KeyRing | None, server: str) -> Socket:
    """Make a socket that is ready to connect to the owner of key ``server``.

    Args:
        context: of the process.
        keys: own keys; None without encryption.
        server: public key of the far end.

    Raises:
        UsageError: E140, the key of that device is unknown here.
    """
    dealer: Socket = context.socket(zmq.DEALER)
    try:
        tune(dealer)
        if keys is not None:
            keys.dial(dealer, server)
    except BaseException:
        dealer.close()  # nobody else knows of it, and an open socket holds up the program's end
        raise
    return dealer


class Guard:
    """The ZAP thread of a worker: lets known keys in, logs the others."""

    def __init__(
        self, context: zmq.Context[Any], accepted: dict[str, str], log: logging.Logger
    ) -> None:
        from zmq.auth.thread import ThreadAuthenticator

        self._accepted = accepted
        self._log = log
        quiet = logging.getLogger("tessera.zap")
        quiet.setLevel(logging.ERROR)
        self._thread = ThreadAuthenticator(context, log=quiet)
        self._thread.start()
        self._thread.configure_curve_callback(domain=_DOMAIN, credentials_provider=self)

    def callback(self, domain: str, key: bytes) -> bool:
        """Decide about one connection (called by pyzmq)."""
        del domain
        text = key.decode("ascii", "replace")
        if text in self._accepted:
            return True
        self._log.warning("refused a peer: its key %s... is not in the key folder", text[:8])
        return False

    def stop(self) -> None:
        """End the thread."""
        self._thread.stop()


def generate(name: str, folder: Path) -> tuple[Path, Path]:
    """Make a key pair.

    Args:
        name: of the device.
        folder: where ``<name>.key`` and ``<name>.key_secret`` go.

    Returns:
        Paths of the public and the secret key.

    Raises:
        UsageError: E140, the name is unusable, or a key of that name exists.
    """
    if not _NAME.fullmatch(name):
        raise UsageError("E140", f"not a name for a key: {name!r:.80} (letters, digits, _ . -)")
    public_path, secret_path = folder / f"{name}.key", folder / f"{name}.key_secret"
    for path in (public_path, secret_path):
        if path.exists():
            raise _bad(path, "a key of that name exists", f"tessera cluster keygen {name}-2")
    folder.mkdir(parents=True, exist_ok=True)
    public, secret = zmq.curve_keypair()
    _write(secret_path, secret, 0o600)
    _write(public_path, public, 0o644)
    return public_path, secret_path


def _write(path: Path, key: bytes, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(key + b"\n")


def _read(path: Path) -> str:
    with path.open(encoding="ascii", errors="replace") as file:
        text = file.read(128).strip()
    if not _KEY.fullmatch(text):
        raise _bad(path, "holds no CURVE key", f"tessera cluster keygen {path.stem}")
    return text


def _bad(path: Path, what: str, hint: str) -> UsageError:
    return UsageError("E140", what, where=str(path), hints=[hint])
