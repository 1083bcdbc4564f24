"""The error tree: what Tessera says when it cannot go on.

::

    TesseraError
    ├── UsageError     E1xx  exit 2   command line, configuration, input arrays
    ├── ModelError     E2xx  exit 2   the model file, an operator, a package extra
    ├── FitError       E3xx  exit 3   does not fit; a constraint cannot be met
    ├── NumericsError  E4xx  exit 4   outputs differ; accuracy below a threshold
    ├── DeviceError    E5xx  exit 5   board, serial port, cluster peer
    ├── ToolError      E6xx  exit 6   a compiler, emulator or flasher is missing or failed
    └── InternalError  E9xx  exit 1   our bug

Every error is one clear message: a stable code, what happened, where, the numbers, and hints
that hold commands which would succeed. This module is a leaf: every room may import it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


class TesseraError(Exception):
    """Root of all errors that a user may see.

    Args:
        code: stable identifier such as ``"E210"``.
        what: one sentence, lower case, without a full stop.
        where: file, layer or tensor concerned.
        numbers: figures behind the message (bytes needed, available, ...), kept for ``--json``.
        hints: what would help, one command or sentence each.
    """

    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        code: str,
        what: str,
        *,
        where: str | None = None,
        numbers: Mapping[str, Any] | None = None,
        hints: Sequence[str] = (),
    ) -> None:
        super().__init__(what)
        self.code = code
        self.what = what
        self.where = where
        self.numbers = dict(numbers or {})
        self.hints = tuple(hints)

    def __str__(self) -> str:
        lines = [f"error[{self.code}]: {self.what}"]
        if self.where:
            lines.append(f"  at {self.where}")
        lines += [f"hint: {hint}" for hint in self.hints]
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """Return the ``error`` object of ``--json``."""
        return {
            "code": self.code,
            "what": self.what,
            "where": self.where,
            "numbers": self.numbers,
            "hints": list(self.hints),
        }


class UsageError(TesseraError):
    """The command line, a configuration file or an input array is wrong."""

    exit_code = 2


class ModelError(TesseraError):
    """The model cannot be read or holds something that is not supported."""

    exit_code = 2


class FitError(TesseraError):
    """The model does not fit, or a constraint cannot be met."""

    exit_code = 3


class NumericsError(TesseraError):
    """Outputs differ from the reference, or accuracy is below the threshold."""

    exit_code = 4


class DeviceError(TesseraError):
    """A board, a serial port or a cluster peer failed."""

    exit_code = 5


class ToolError(TesseraError):
    """An external tool is missing or failed."""

    exit_code = 6


class InternalError(TesseraError):
    """A bug in Tessera."""

    exit_code = 1
