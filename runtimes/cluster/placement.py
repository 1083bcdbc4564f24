"""Which device computes which rank, at the start and after a loss: a pure function.

Shares stay as they were cut; only their hosts change. So no weight moves where a device already
has the shard, ranks are added in the same order, and the tokens that follow are the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runtimes.cluster.messages import ShardInfo
from toolchain.errors import FitError

HEAD = -1  # host of a rank that the head computes itself


@dataclass(frozen=True)
class Host:
    """What placement knows of a device.

    Attributes:
        cached: digests of the shards it holds.
        max_ram: bytes it may use, 0 for no limit.
    """

    cached: frozenset[str]
    max_ram: int


def place(
    shards: Sequence[ShardInfo],
    previous: Mapping[int, int],
    hosts: Mapping[int, Host],
    least_ram: Sequence[int],
) -> dict[int, int]:
    """Give every rank a host.

    A rank stays where it was if that device lives. An orphan goes to a device that holds its
    shard, rather to an idle one (a spare) than to a busy one, rather to a worker than to the head.

    Args:
        shards: by rank.
        previous: rank to host, of the ranks that had one.
        hosts: the living devices, `HEAD` among them.
        least_ram: bytes that each rank needs at least.

    Returns:
        Rank to host.

    Raises:
        FitError: E311, no living device has room for a rank.
    """
    placed = {rank: host for rank, host in previous.items() if host in hosts}
    for info in shards:
        if info.rank in placed:
            continue
        rooms = [
            host for host in hosts if _has_room(info.rank, host, placed, hosts[host], least_ram)
        ]
        if not rooms:
            raise FitError(
                "E311",
                f"no device has room for rank {info.rank}, which needs {least_ram[info.rank]}"
                " bytes of RAM",
                numbers={"needed": least_ram[info.rank], "devices": len(hosts)},
                hints=["add a spare: tessera cluster worker --listen ADDRESS --max-ram BYTES"],
            )
        load = list(placed.values())
        placed[info.rank] = min(
            rooms,
            key=lambda host, info=info: (  # type: ignore[misc]
                info.digest not in hosts[host].cached,
                load.count(host),
                host == HEAD,
                host,
            ),
        )
    return placed


def _has_room(
    rank: int, name: int, placed: Mapping[int, int], host: Host, least_ram: Sequence[int]
) -> bool:
    used = sum(least_ram[other] for other, at in placed.items() if at == name)
    return host.max_ram == 0 or used + least_ram[rank] <= host.max_ram
