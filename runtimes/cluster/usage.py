"""What this process is: its version, the memory it has used."""

from __future__ import annotations

import resource
import sys
from importlib.metadata import PackageNotFoundError, version


def peak_rss() -> int:
    """Largest resident set of this process so far, in bytes.

    ``/proc`` counts from the start of the program; ``getrusage`` would count the parent's pages
    that a fork shares for a moment.
    """
    try:
        with open("/proc/self/status", encoding="ascii") as status:  # noqa: PTH123
            fields = dict(line.split(":", 1) for line in status if ":" in line)
        return int(fields["VmHWM"].split()[0]) << 10
    except (OSError, KeyError):
        unit = 1 if sys.platform == "darwin" else 1 << 10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def package_version() -> str:
    """Version of the installed distribution."""
    try:
        return version("tessera")
    except PackageNotFoundError:
        return "unknown"
