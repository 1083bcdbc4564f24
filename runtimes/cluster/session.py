"""A session on a worker: the engines of its ranks and the links they exchange over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias, cast, get_args

from runtimes.cluster.engine import Engine
from runtimes.cluster.exchange import Exchange, Topology, make_exchange
from runtimes.cluster.links import Attendant, Links, Mailbox, Peer
from runtimes.cluster.messages import Assign, ShardInfo
from runtimes.cluster.payload import open_codec, payload_bytes
from runtimes.cluster.step import EngineRequest, OpenEngine
from runtimes.cluster.transfer import ShardCache
from runtimes.cluster.wire import MAX_PAYLOAD, Encoding, Header, WireError
from toolchain.cluster.split import KvKind
from toolchain.errors import DeviceError, UsageError

EngineKey: TypeAlias = tuple[str, EngineRequest]

_LIMITS = {"hidden": 1 << 16, "max_rows": 1 << 12, "slots": 1 << 10, "capacity": 1 << 24}


class WorkerSession:
    """What a worker holds for one head.

    Args:
        order: the head's assignment, checked here.
        cache: has the shards.
        open_engine: makes an engine of a shard file.
        keep: engines of an earlier session; those that fit are used again, the rest closed.
        max_ram: bytes that this device grants, 0 for no limit.

    Raises:
        WireError: E521, the assignment contradicts itself.
        DeviceError: E525, a shard is not that of its rank.
    """

    def __init__(
        self,
        order: Assign,
        cache: ShardCache,
        open_engine: OpenEngine,
        keep: Mapping[EngineKey, Engine],
        max_ram: int = 0,
    ) -> None:
        _check(order)
        self.order = order
        self.device = order.device
        self.own = order.members[order.device].ranks
        self.digests = tuple(info.digest for info in order.shards)
        self.peers: dict[int, Peer] = {}
        self.links: Links | None = None
        self.exchange: Exchange
        self._keys: dict[int, EngineKey] = {}
        self.engines: dict[int, Engine] = {}
        try:
            self._load(cache, open_engine, dict(keep), max_ram)
        except BaseException:
            self.close()
            raise

    def lower(self) -> range:
        """Workers that dial this one."""
        return range(1, self.device)

    def higher(self) -> range:
        """Workers that this one dials."""
        return range(self.device + 1, len(self.order.members))

    def lower_joined(self) -> bool:
        """Whether all workers below have said who they are."""
        return all(device in self.peers for device in self.lower())

    def dialled(self) -> list[Peer]:
        """Links that this worker opened."""
        return [self.peers[device] for device in self.higher() if device in self.peers]

    def open_links(self, mailbox: Mailbox, head: Peer, attendant: Attendant) -> None:
        """All peers are known: build the exchange."""
        order = self.order
        self.peers[0] = head
        self.links = Links(mailbox, self.device, order.epoch, self.peers, attendant)
        roster = [member.ranks for member in order.members]
        values = order.max_rows * order.hidden
        codec = open_codec(Encoding(order.encoding), values)
        topology = Topology(order.topology)
        self.exchange = make_exchange(topology, self.links, roster, codec, values)

    def truncate(self, slot: int, length: int) -> None:
        """Forget later positions on all own ranks."""
        for engine in self.engines.values():
            engine.truncate(slot, length)

    def release(self) -> dict[EngineKey, Engine]:
        """Hand the engines over; the session is dead afterwards."""
        engines = {self._keys[rank]: engine for rank, engine in self.engines.items()}
        self.engines = {}
        self.links = None
        return engines

    def close(self) -> None:
        """Close the engines."""
        for engine in self.release().values():
            engine.close()

    def _load(
        self,
        cache: ShardCache,
        open_engine: OpenEngine,
        keep: dict[EngineKey, Engine],
        max_ram: int,
    ) -> None:
        order = self.order
        options = EngineRequest(
            slots=order.slots,
            capacity=order.capacity,
            reproducible=order.encoding == Encoding.FIXED,
            kv=cast("KvKind", order.kv),
            max_ram=min(filter(None, (order.max_ram, max_ram)), default=0) // len(order.shards),
        )
        wanted = {(info.digest, options): info for info in order.shards}
        kept = {key: keep.pop(key) for key in list(keep) if key in wanted}
        for engine in keep.values():  # free their memory before anything new is loaded
            engine.close()
        for key, info in wanted.items():
            engine = kept.get(key) or open_engine(cache.path(info), options)
            self.engines[info.rank], self._keys[info.rank] = engine, key
            check_engine(engine, info, order.hidden, sum(len(m.ranks) for m in order.members))
            for slot in range(order.slots):
                engine.truncate(slot, 0)


def check_engine(engine: Engine, info: ShardInfo, hidden: int, ranks: int) -> None:
    """Refuse a shard that is not the one of its rank (E525)."""
    share = engine.share
    if (share.rank, share.ranks, engine.config.hidden) != (info.rank, ranks, hidden):
        raise DeviceError(
            "E525",
            f"wrong shard: it is rank {share.rank} of {share.ranks}, hidden"
            f" {engine.config.hidden}; the plan needs rank {info.rank} of {ranks}, hidden {hidden}",
            hints=["tessera cluster convert MODEL -o SHARDS   (with the plan in use)"],
        )


def check_hidden(order: Assign, header: Header, length: int) -> None:
    """Refuse a step that does not fit the session (E521)."""
    fits = (
        1 <= header.rows <= order.max_rows
        and header.wanted <= header.rows
        and header.slot < order.slots
        and header.position + header.rows <= order.capacity
        and header.encoding is Encoding.F32
        and length == 4 * header.rows * order.hidden
    )
    if not fits:
        raise WireError(
            "E521",
            f"step of {header.rows} rows at {header.position} in slot {header.slot}"
            f" ({length} bytes) does not fit the session",
        )


def max_rows(hidden: int, encoding: Encoding, ranks: int) -> int:
    """Most rows whose payload of ``ranks`` ranks, and whose hidden state, fit one frame."""
    per_row = max(payload_bytes(encoding, hidden) * ranks, 4 * hidden)
    rows = MAX_PAYLOAD // per_row
    if rows == 0:
        raise UsageError("E141", f"hidden size {hidden} times {ranks} ranks exceeds a frame")
    return min(rows, 256)


def _check(order: Assign) -> None:
    """Prove an assignment sound before anything is allocated from it."""
    try:
        Topology(order.topology)
        encoding = Encoding(order.encoding)
        members = order.members
        ranks = sorted(rank for member in members for rank in member.ranks)
        own = sorted(members[order.device].ranks)
        problems = {
            "device": not 1 <= order.device < len(members) <= 256,
            "ranks": ranks != list(range(len(ranks))) or len(ranks) > 256,
            "empty": any(not member.ranks for member in members),
            "shards": sorted(info.rank for info in order.shards) != own,
            "encoding": encoding is Encoding.NONE,
            "kv": order.kv not in get_args(KvKind),
            "epoch": order.epoch >= 1 << 32,
        }
        for name, limit in _LIMITS.items():
            problems[name] = not 1 <= getattr(order, name) <= limit
        if not any(problems.values()):
            most = max(len(member.ranks) for member in members)
            problems["payload"] = order.max_rows > max_rows(order.hidden, encoding, most)
        bad = [name for name, is_bad in problems.items() if is_bad]
    except (ValueError, IndexError, UsageError) as error:
        bad = [f"{error}"]
    if bad:
        raise WireError("E521", f"assignment contradicts itself: {', '.join(bad)[:200]}")
