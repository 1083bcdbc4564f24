"""What a verb says: human text on stdout, progress on stderr, or one JSON object.

The JSON envelope is versioned: ``{"schema_version": 1, "command": ..., "exit_code": ...,
"warnings": [...], "result": {...}}``; on failure ``"error"`` stands in place of ``"result"``.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import click

from toolchain.errors import InternalError, TesseraError

SCHEMA_VERSION = 1
_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass
class Reporter:
    """Collects what one run of a verb has to say.

    Attributes:
        json: print one JSON object on stdout and nothing else.
        quiet: print results only, no progress and no closing hints.
        debug: show the traceback of a bug.
        command: the verb, for the JSON envelope.
    """

    json: bool = False
    quiet: bool = False
    debug: bool = False
    command: str = ""
    warnings: list[str] = field(default_factory=list)

    @classmethod
    def from_arguments(cls, arguments: Sequence[str]) -> Reporter:
        """Read the global flags early, so that even a usage error obeys ``--json``."""
        verb = next((word for word in arguments if not word.startswith("-")), "")
        return cls(
            json="--json" in arguments,
            quiet="--quiet" in arguments or "-q" in arguments,
            debug="--debug" in arguments,
            command=verb,
        )

    def say(self, text: str = "") -> None:
        """Print a line of the result for people (nothing under ``--json``)."""
        if not self.json:
            click.echo(text)

    def note(self, text: str) -> None:
        """Print a line of progress on stderr (nothing under ``--json`` or ``--quiet``)."""
        if not (self.json or self.quiet):
            click.echo(text, err=True)

    def warn(self, text: str) -> None:
        """Record a warning; people see it on stderr, programs in ``warnings``."""
        self.warnings.append(text)
        if not self.json:
            click.echo(f"warning: {text}", err=True)

    @contextmanager
    def status(self, text: str) -> Iterator[Callable[[str], None]]:
        """Show a line on stderr while something runs, where somebody is looking.

        Returns:
            What changes the line.
        """
        if self.json or self.quiet or not sys.stderr.isatty():
            yield lambda _: None
            return
        if importlib.util.find_spec("rich") is None:
            with _plain_status(text) as update:
                yield update
            return
        from rich.console import Console

        with Console(stderr=True).status(text) as status:
            yield status.update

    def result(self, result: dict[str, Any], exit_code: int = 0) -> int:
        """Close the run with its result; returns ``exit_code``."""
        if self.json:
            self._emit(exit_code, {"result": result})
        return exit_code

    def failure(self, error: TesseraError) -> int:
        """Close the run with an error; returns its exit code."""
        if self.json:
            self._emit(error.exit_code, {"error": error.as_dict()})
        else:
            click.echo(str(error), err=True)
        return error.exit_code

    def crash(self, error: Exception) -> int:
        """Report a bug: the traceback with ``--debug``, else the path of a log that holds it."""
        if self.debug:
            traceback.print_exception(error, file=sys.stderr)
        import tempfile

        with tempfile.NamedTemporaryFile(
            "w", prefix="tessera-", suffix=".log", delete=False
        ) as log:
            traceback.print_exception(error, file=log)
        return self.failure(
            InternalError(
                "E900",
                f"internal error: {type(error).__name__}: {error}",
                hints=[f"the traceback is in {Path(log.name)}; please report it"],
            )
        )

    def _emit(self, exit_code: int, body: dict[str, Any]) -> None:
        head = {"schema_version": SCHEMA_VERSION, "command": self.command, "exit_code": exit_code}
        click.echo(json.dumps({**head, "warnings": self.warnings, **body}))


@contextmanager
def _plain_status(text: str) -> Iterator[Callable[[str], None]]:
    """Overwrite one line of a terminal, which is empty in the end."""

    def update(line: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        sys.stderr.write(f"\r\x1b[2K{line[:width]}")
        sys.stderr.flush()

    update(text)
    try:
        yield update
    finally:
        update("")


def common_options(function: _Function) -> _Function:
    """Give a verb ``--json``, ``--quiet`` and ``--debug``, and the reporter as first argument."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        for flag in ("json", "quiet", "debug"):
            kwargs.pop(f"_{flag}")  # read early by Reporter.from_arguments
        reporter = click.get_current_context().find_object(Reporter) or Reporter()
        return function(reporter, *args, **kwargs)

    for option in (
        click.option("--debug", "_debug", is_flag=True, help="Show tracebacks of bugs."),
        click.option("--quiet", "-q", "_quiet", is_flag=True, help="Print results only."),
        click.option("--json", "_json", is_flag=True, help="Print one JSON object."),
    ):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[return-value]
