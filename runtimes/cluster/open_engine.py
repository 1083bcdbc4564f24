"""From a shard file to the best engine that runs here."""

from __future__ import annotations

from runtimes.cluster.step import OpenEngine


def engine_opener(threads: int = 1) -> OpenEngine:
    """Return a function that opens shards; see `runtimes.cluster.opener.EngineOpener`.

    Args:
        threads: of the kernels.
    """
    from runtimes.cluster.opener import EngineOpener

    return EngineOpener(threads=threads)
