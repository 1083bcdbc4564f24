"""The memory of this process: how much it has used, and that freed memory goes back."""

from __future__ import annotations

import contextlib
import ctypes
import resource
import sys

# mallopt(3) of the GNU C library: parameter and value.
_FRUGAL = {"M_TRIM_THRESHOLD": (-1, 1 << 17), "M_MMAP_THRESHOLD": (-3, 1 << 17)}
_ONE_ARENA = (-8, 1)


def be_frugal() -> None:
    """Have the C library return freed memory to the system at once, where it can.

    A download passes megabytes through the allocator, which would then hold on to as many for
    good; and a second thread's arena is memory that nobody counted.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        for parameter, value in (*_FRUGAL.values(), _ONE_ARENA):
            library.mallopt(parameter, value)
        library.malloc_trim(0)


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
