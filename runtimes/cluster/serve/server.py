"""Runs the application on a socket until a signal ends it."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from collections.abc import Callable
from contextlib import closing

from runtimes.cluster.launch import OpenModel
from runtimes.cluster.scheduler import Scheduler
from toolchain.errors import ToolError, UsageError

_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
_MOST_CONNECTIONS = 256
_GRACE_S = 2


def listen(host: str, port: int) -> socket.socket:
    """Open the socket before anything expensive starts.

    Raises:
        UsageError: E139, the address cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UsageError("E139", f"cannot listen on {host}: {error.strerror}") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        in_use = error.errno == errno.EADDRINUSE
        hints = [f"tessera cluster serve SHARDS --port {port + 1}"] if in_use else []
        reason = "port in use" if in_use else os.strerror(error.errno or 0)
        raise UsageError("E139", f"cannot listen on {host}:{port}: {reason}", hints=hints) from None
    return listener


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host in _LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def serve(
    opened: OpenModel,
    listener: socket.socket,
    *,
    api_key: str = "",
    local: bool = True,
    guesses: int = 8,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        opened: the model; not closed here.
        listener: from `listen`; closed here.
        api_key: that clients must show; empty for none.
        local: answer only clients that call this server by a loopback name.
        guesses: guessed tokens per pass at most.
        ready: called when connections are accepted.

    Raises:
        ToolError: E604, the server library is not installed.
    """
    try:
        import uvicorn

        from runtimes.cluster.serve.app import Service, make_app
    except ImportError as error:
        listener.close()
        raise ToolError(
            "E606",
            f"the server needs the package {error.name}",
            hints=['pip install "tessera[cluster]"'],
        ) from error

    with closing(listener), closing(Scheduler(opened)) as scheduler:
        hosts = (*_LOOPBACK_NAMES, "[::1]") if local else ()
        app = make_app(Service(opened, scheduler, api_key, hosts, guesses))
        config = uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_graceful_shutdown=_GRACE_S,
        )
        server = uvicorn.Server(config)
        ready()
        try:
            server.run(sockets=[listener])
        except KeyboardInterrupt:
            return
