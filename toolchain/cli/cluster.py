"""``tessera cluster``: the verbs of the cluster runtime."""

from __future__ import annotations

import click


@click.group()
def command() -> None:
    """Split a language model over several machines."""
