"""A group of verbs that imports a verb's module only when it runs."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from typing import Any

import click

from toolchain.cli.report import Reporter
from toolchain.errors import UsageError


class LazyGroup(click.Group):
    """A click group whose help imports no verb.

    Args:
        verbs: verb to the module that defines it and its help line; a module names its click
            command ``command``.
        prefix: words before the verb, for hints.
    """

    def __init__(
        self, *args: Any, verbs: Mapping[str, tuple[str, str]], prefix: str, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._verbs = verbs
        self._prefix = prefix

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all verbs in the order of a user's work."""
        del ctx
        return list(self._verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the verb, or fail with the nearest names."""
        if cmd_name in self._verbs:
            reporter = ctx.find_object(Reporter)
            if reporter is not None:  # the words that lead here, for the JSON envelope
                reporter.command = f"{self._prefix} {cmd_name}".partition(" ")[2]
            command: click.Command = importlib.import_module(self._verbs[cmd_name][0]).command
            return command
        near = difflib.get_close_matches(cmd_name, self._verbs, n=3)
        raise UsageError(
            "E101",
            f"no such command: {cmd_name}",
            hints=[f"{self._prefix} {name} --help" for name in near],
        )

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the verb table without importing any verb."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self._verbs.items()])
