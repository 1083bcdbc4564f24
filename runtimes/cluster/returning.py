"""Workers that were lost and come back: which ranks wait for them, and whether they are there."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Collection, Mapping

from runtimes.cluster.messages import Welcome
from runtimes.cluster.placement import HEAD
from runtimes.cluster.transfer import StoredShard

RETRY_S = 5.0  # after a loss, and twice as long after every look in vain
LONGEST_S = 60.0
_KNOCK_S = 0.1


def homeless(placed: Mapping[int, int], home: Mapping[int, int]) -> dict[int, int]:
    """Ranks that a device computes beside another one, though they have a worker of their own.

    Args:
        placed: rank to host, now.
        home: rank to host, as it was at the start.

    Returns:
        Rank to the worker it belongs to. A rank that a spare took over alone stays there.
    """
    load = Counter(placed.values())
    return {
        rank: home[rank]
        for rank, host in placed.items()
        if home[rank] not in (host, HEAD) and load[host] > 1
    }


def with_returned(
    placed: Mapping[int, int],
    home: Mapping[int, int],
    alive: Mapping[int, Welcome],
    shards: Collection[StoredShard],
) -> dict[int, int]:
    """Give workers that are back, and still hold their shards, their ranks again.

    Args:
        placed: rank to host, now.
        home: rank to host, as it was at the start.
        alive: what the living workers said of themselves.
        shards: of all ranks.

    Returns:
        Rank to host.
    """
    digests = {shard.info.rank: shard.info.digest for shard in shards}
    returned = {
        rank: worker
        for rank, worker in homeless(placed, home).items()
        if worker in alive and digests[rank] in alive[worker].cached
    }
    return {**placed, **returned}


def is_listening(address: str) -> bool:
    """Whether anybody listens at ``host:port``; takes a tenth of a second at most."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_S):
            return True
    except OSError:
        return False
