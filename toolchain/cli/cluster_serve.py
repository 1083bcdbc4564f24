"""``tessera cluster serve``: an OpenAI-compatible server."""

from __future__ import annotations

import os
import signal

import click

from toolchain.cli.cluster_model import ModelOptions, guesses_option, model_options
from toolchain.cli.report import Reporter, common_options
from toolchain.errors import UsageError


@click.command()
@model_options
@guesses_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True)
@click.option(
    "--slots", type=click.IntRange(1, 64), default=4, show_default=True, help="Answers at a time."
)
@click.option("--open", "is_open", is_flag=True, help="Listen beyond loopback without a key.")
@common_options
def command(
    reporter: Reporter,
    *,
    model: ModelOptions,
    guesses: int,
    host: str,
    port: int,
    slots: int,
    is_open: bool,
) -> int:
    """Serve the model in SHARDS over HTTP until interrupted.

    \b
    POST /v1/chat/completions, /v1/completions   GET /v1/models, /metrics, /health

    Clients must show the key in the environment variable TESSERA_API_KEY, if there is one:
    Authorization: Bearer KEY.
    """  # noqa: D301 - \b keeps click from joining the lines
    from runtimes.cluster.serve.server import is_loopback, listen, serve

    api_key = os.environ.get("TESSERA_API_KEY", "")
    local = is_loopback(host)
    if not (local or api_key or is_open):
        raise UsageError(
            "E144",
            f"{host} can be reached by others, and without a key anyone may use it",
            hints=[
                "set TESSERA_API_KEY to a secret",
                "--open on a network where you trust everyone",
            ],
        )
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    listener = listen(host, port)
    with listener, model.open(reporter, slots=slots) as opened:
        address = _url(*listener.getsockname()[:2])
        serve(
            opened,
            listener,
            api_key=api_key,
            local=local and not is_open,
            guesses=guesses,
            ready=lambda: click.echo(f"serving {opened.name} at {address}/v1"),
        )
    return 0


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
