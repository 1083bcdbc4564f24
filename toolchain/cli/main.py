"""Entry point of ``tessera``: a lazy group, one exit code per kind of error.

``tessera --help`` imports nothing but click; a verb's module (and with it numpy, jinja2 or
zmq) is imported when that verb runs.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence

import click

from toolchain.cli.extras import missing_package
from toolchain.cli.lazy import LazyGroup
from toolchain.cli.report import Reporter
from toolchain.errors import TesseraError, UsageError

# verb -> (module that defines it, help line); a module names its click command ``command``.
VERBS: dict[str, tuple[str, str]] = {
    "boards": ("toolchain.cli.boards", "List boards, or those that a model fits."),
    "inspect": ("toolchain.cli.inspect", "Show what is in a model."),
    "quantize": ("toolchain.cli.quantize", "Turn a float model into an int8 one."),
    "eval": ("toolchain.cli.evaluate", "Measure accuracy on labelled data."),
    "ops": ("toolchain.cli.ops", "List the supported operators."),
    "plan": ("toolchain.cli.plan", "Choose how a model uses memory; show the arena."),
    "compile": ("toolchain.cli.compile", "Turn a model into a C99 project."),
    "test": ("toolchain.cli.test", "Run a project on host and emulator; compare bit by bit."),
    "profile": ("toolchain.cli.profile", "Show instructions and cycles of every layer."),
    "build": ("toolchain.cli.build", "Build a project's firmware."),
    "flash": ("toolchain.cli.flash", "Build and upload to the board."),
    "monitor": ("toolchain.cli.monitor", "Show what the board prints."),
    "validate": ("toolchain.cli.validate", "Compare the connected board with the interpreter."),
    "run": ("toolchain.cli.run", "Compile, test and profile in one go."),
    "cluster": ("toolchain.cli.cluster", "Split a language model over several machines."),
    "doctor": ("toolchain.cli.doctor", "Show which tools are installed."),
}

# What a file system says when a path cannot be written or read, or the disk is full.
_REFUSALS = frozenset(
    getattr(errno, name)
    for name in (
        *("EACCES", "EDQUOT", "EEXIST", "EFBIG", "EISDIR", "ELOOP", "ENAMETOOLONG", "ENOENT"),
        *("ENOSPC", "ENOTDIR", "EPERM", "EROFS"),
    )
    if hasattr(errno, name)
)


@click.command(
    cls=LazyGroup,
    verbs=VERBS,
    prefix="tessera",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="tessera")
def cli() -> None:
    """Neural networks where they did not fit.

    Compile a model into C99 firmware for a microcontroller, check it bit by bit in an
    emulator, flash it; or split a language model over a handful of weak machines.
    """


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        argv: arguments without the program's name; ``sys.argv[1:]`` by default.

    Returns:
        0 ok, 1 our bug, 2 usage or bad input, 3 does not fit, 4 outputs differ, 5 device,
        6 missing tool, 130 Ctrl-C.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    reporter = Reporter.from_arguments(arguments)
    try:
        result = cli.main(args=arguments, prog_name="tessera", standalone_mode=False, obj=reporter)
    except (click.Abort, KeyboardInterrupt):
        return 130
    except Exception as error:
        known = _known(error, reporter.command)
        return reporter.failure(known) if known else reporter.crash(error)
    return result if isinstance(result, int) else 0


def _known(error: Exception, command: str) -> TesseraError | None:
    """Return what an exception means for people; None for a bug."""
    match error:
        case TesseraError():
            return error
        case click.ClickException():
            return UsageError("E101", error.format_message())
        case ModuleNotFoundError():
            return missing_package(error, command)
        case OSError() if error.errno in _REFUSALS:
            reason = (error.strerror or str(error)).lower()
            return UsageError("E109", reason, where=error.filename and str(error.filename))
        case _:
            return None
