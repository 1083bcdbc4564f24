"""``tessera cluster``: the verbs of the cluster runtime, each imported only when it runs."""

from __future__ import annotations

from importlib.util import find_spec

import click

from toolchain.cli.lazy import LazyGroup

_HELP = {
    "profile": "Measure this device, and its links to others.",
    "plan": "Split, topology, RAM per device, predicted speed: before anything starts.",
    "convert": "Cut a model into shards, one file per device.",
    "worker": "Compute a share of a model for a head.",
    "chat": "Talk to a model.",
    "serve": "OpenAI-compatible server.",
    "bench": "Time to first token, tokens per second, memory.",
    "emulate": "The whole cluster on this machine, links and memory caps included.",
    "keygen": "Make a key pair for a device.",
}
VERBS = {
    verb: (module, text)
    for verb, text in _HELP.items()
    if find_spec(module := f"toolchain.cli.cluster_{verb}") is not None
}


@click.command(cls=LazyGroup, verbs=VERBS, prefix="tessera cluster")
def command() -> None:
    """Split a language model over several machines."""
