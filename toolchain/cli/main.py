"""Entry point of ``tessera``: a lazy group, one exit code per kind of error.

``tessera --help`` imports nothing but click; a verb's module (and with it numpy, jinja2 or
zmq) is imported when that verb runs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from toolchain.cli.lazy import LazyGroup
from toolchain.cli.report import Reporter
from toolchain.errors import TesseraError, UsageError

# verb -> (module that defines it, help line); a module names its click command ``command``.
VERBS: dict[str, tuple[str, str]] = {
    "cluster": ("toolchain.cli.cluster", "Split a language model over several machines."),
}


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
    except click.ClickException as error:
        return reporter.failure(UsageError("E101", error.format_message()))
    except (click.Abort, KeyboardInterrupt):
        return 130
    except TesseraError as error:
        return reporter.failure(error)
    except Exception as error:
        return reporter.crash(error)
    return result if isinstance(result, int) else 0
