"""Rotary positions (arXiv 2104.09864): the angles by which the pairs of a head are turned."""

from __future__ import annotations

import math
from array import array
from functools import lru_cache

from runtimes.cluster.buffers import Buffer, Rows


@lru_cache(maxsize=32)  # a chunk of 256 positions, in calls of 32, at two bases
def rotation_table(frequencies: tuple[float, ...], position: int, n: int) -> Rows:
    """Cosines, then sines, of positions ``position..position+n-1``.

    Args:
        frequencies: angle per position of each pair, in radians; equal ones share a table.
        position: of the first row.
        n: positions.

    Returns:
        (2 n, pairs) float32: n rows of cosines, n rows of sines.
    """
    angles = [at * f for at in range(position, position + n) for f in frequencies]
    table = array("f", [*map(math.cos, angles), *map(math.sin, angles)])
    return Rows(Buffer.over(table), 2 * n, len(frequencies))
