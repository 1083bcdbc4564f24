"""How the head brings its workers into a common session: who computes what, over which links."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from runtimes.cluster import messages as m
from runtimes.cluster.crew import Crew, WorkerAddress
from runtimes.cluster.engine import Engine
from runtimes.cluster.exchange import Exchange, Topology, make_exchange
from runtimes.cluster.links import Attendant, Links
from runtimes.cluster.payload import open_codec
from runtimes.cluster.placement import HEAD, Host, place
from runtimes.cluster.session import check_engine, max_rows
from runtimes.cluster.step import EngineRequest, OpenEngine
from runtimes.cluster.transfer import StoredShard
from runtimes.cluster.wire import Encoding
from toolchain.cluster.config import ModelConfig
from toolchain.cluster.split import KvKind, Share

LOAD_S = 600.0  # a silent device may be reading or hashing its shard for so long


@dataclass(frozen=True)
class Deployment:
    """Everything that a head needs to start.

    Attributes:
        config: the model.
        shares: of all ranks; rank 0 is the head's.
        shards: one file per rank, in rank order.
        workers: the first ``len(shards) - 1`` compute ranks 1, 2 ...; the others are spares.
        topology: of the exchange.
        encoding: of partial sums; `Encoding.FIXED` is the reproducible mode.
        slots: independent sequences.
        capacity: positions per slot.
        kv: type of the key/value cache.
        least_ram: bytes each rank needs at least, by rank; empty if unknown.
        worker_ram: bytes that each worker may use, by worker; empty for what they grant.
        head_ram: bytes that the head may use, 0 for no limit.
        rows: most positions per pass, 0 for as many as fit a frame.
        standby: give every spare a copy of all workers' shards at the start.
    """

    config: ModelConfig
    shares: tuple[Share, ...]
    shards: tuple[StoredShard, ...]
    workers: tuple[WorkerAddress, ...] = ()
    topology: Topology = Topology.MESH
    encoding: Encoding = Encoding.F32
    slots: int = 1
    capacity: int = 2048
    kv: KvKind = "f32"
    least_ram: tuple[int, ...] = ()
    worker_ram: tuple[int, ...] = ()
    head_ram: int = 0
    rows: int = 0
    standby: bool = False


@dataclass
class Session:
    """Hosts, links and exchange between two faults.

    Attributes:
        epoch: number of the session, on every frame of it.
        hosts: device index to worker index; device 0 is the head.
        placed: rank to worker index.
        devices: rank to device index.
        links: to all devices.
        exchange: sums over all ranks.
        rows: most positions per pass.
        step: number of the last pass.
    """

    epoch: int
    hosts: tuple[int, ...]  # device index to worker index; device 0 is the head
    placed: dict[int, int]
    links: Links
    exchange: Exchange
    rows: int
    step: int = 0
    devices: dict[int, int] = field(default_factory=dict)  # rank to device index


class Formation:
    """Opens sessions, one after another.

    Args:
        deployment: what to run.
        crew: connections to the workers.
        open_engine: makes the engine of a shard file.
        attendant: of the head's links.
    """

    def __init__(
        self, deployment: Deployment, crew: Crew, open_engine: OpenEngine, attendant: Attendant
    ) -> None:
        self.engines: dict[int, Engine] = {}
        self._deployment = deployment
        self._crew = crew
        self._open_engine = open_engine
        self._attendant = attendant
        self._epoch = secrets.randbits(31)

    def stock(self, workers: Sequence[int]) -> None:
        """Give workers a copy of all shards but the head's, as far as they lack them."""
        infos = tuple(shard.info for shard in self._deployment.shards[1:])
        orders = {worker: m.Prefetch(self._epoch, infos) for worker in workers}
        self._crew.ask(orders, m.Cached, LOAD_S)

    def open(self, previous: Mapping[int, int], alive: Mapping[int, m.Welcome]) -> Session:
        """Place all ranks on living devices and bring these into a common session.

        Args:
            previous: rank to worker index, as it was or should be.
            alive: what the living workers said of themselves.

        Raises:
            FitError: E311, nobody has room for a rank.
            WorkersLost: a worker went or failed meanwhile.
        """
        deployment = self._deployment
        placed = self._place(previous, alive)
        workers = sorted({host for host in placed.values() if host != HEAD})
        self._crew.keep(workers)
        rosters = [
            tuple(sorted(rank for rank, at in placed.items() if at == host))
            for host in (HEAD, *workers)
        ]
        self._epoch = (self._epoch + 1) & 0xFFFFFFFF
        self._crew.epoch = self._epoch
        rows = max_rows(deployment.config.hidden, deployment.encoding, max(map(len, rosters)))
        rows = min(rows, deployment.rows or rows, deployment.capacity)
        self._enlist(workers, rosters, rows)
        peers = {device: self._crew.peer(worker) for device, worker in enumerate(workers, 1)}
        links = Links(self._crew.mailbox, 0, self._epoch, peers, self._attendant)
        values = rows * deployment.config.hidden
        codec = open_codec(deployment.encoding, values)
        return Session(
            epoch=self._epoch,
            hosts=(HEAD, *workers),
            placed=placed,
            devices={rank: d for d, ranks in enumerate(rosters) for rank in ranks},
            links=links,
            exchange=make_exchange(deployment.topology, links, rosters, codec, values),
            rows=rows,
        )

    def close(self) -> None:
        """Close the head's engines."""
        for engine in self.engines.values():
            engine.close()
        self.engines = {}

    def _place(self, previous: Mapping[int, int], alive: Mapping[int, m.Welcome]) -> dict[int, int]:
        infos = [shard.info for shard in self._deployment.shards]
        hosts = {
            worker: Host(frozenset(answer.cached), answer.max_ram)
            for worker, answer in alive.items()
        }
        own = frozenset(info.digest for info in infos)
        hosts[HEAD] = Host(own, self._deployment.head_ram)
        least = self._deployment.least_ram or (0,) * len(infos)
        return place(infos, previous, hosts, least)

    def _enlist(self, workers: list[int], rosters: list[tuple[int, ...]], rows: int) -> None:
        """Shards, engines, links: three rounds with all workers at once."""
        crew, epoch = self._crew, self._epoch
        token = secrets.token_hex(16)
        orders = {
            worker: self._order(device, workers, rosters, rows, token)
            for device, worker in enumerate(workers, 1)
        }
        prefetch = {w: m.Prefetch(epoch, order.shards) for w, order in orders.items()}
        crew.ask(prefetch, m.Cached, LOAD_S)
        for worker, order in orders.items():
            crew.tell(worker, order)
        self._load(rosters[0])  # while the workers load theirs
        crew.wait(workers, m.Loaded, LOAD_S)
        crew.ask(dict.fromkeys(workers, m.Connect(epoch)), m.Ready, 10.0)

    def _order(
        self,
        device: int,
        workers: list[int],
        rosters: list[tuple[int, ...]],
        rows: int,
        token: str,
    ) -> m.Assign:
        """Write one worker's assignment."""
        deployment, own = self._deployment, rosters[device]
        addresses = [self._crew.addresses[worker] for worker in workers]
        seen = [address.seen_from(workers[device - 1]) for address in addresses]
        keys = [address.key for address in addresses]
        ram = deployment.worker_ram
        return m.Assign(
            epoch=self._epoch,
            session=token,
            device=device,
            members=(m.Member("", "", rosters[0]), *map(m.Member, seen, keys, rosters[1:])),
            topology=deployment.topology.value,
            encoding=int(deployment.encoding),
            hidden=deployment.config.hidden,
            max_rows=rows,
            slots=deployment.slots,
            capacity=deployment.capacity,
            kv=deployment.kv,
            max_ram=ram[workers[device - 1]] if ram else 0,
            shards=tuple(deployment.shards[rank].info for rank in own),
        )

    def _load(self, ranks: Sequence[int]) -> None:
        """Open the engines that the head itself computes, keep those it has.

        Under a cap they share it evenly, so a new one means that the others are opened anew.
        """
        cap = self._deployment.head_ram // len(ranks)
        kept = () if cap and set(ranks) - set(self.engines) else ranks
        for rank in set(self.engines) - set(kept):
            self.engines.pop(rank).close()
        for rank in ranks:
            if rank not in self.engines:
                self.engines[rank] = self._engine(rank, cap)
        self.engines = dict(sorted(self.engines.items()))

    def _engine(self, rank: int, cap: int) -> Engine:
        deployment = self._deployment
        shard = deployment.shards[rank]
        request = EngineRequest(
            slots=deployment.slots,
            capacity=deployment.capacity,
            reproducible=deployment.encoding is Encoding.FIXED,
            kv=deployment.kv,
            max_ram=cap,
        )
        engine = self._open_engine(shard.path, request)
        check_engine(engine, shard.info, deployment.config.hidden, len(deployment.shards))
        return engine
