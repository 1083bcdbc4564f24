"""From a folder of shards to a running head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from runtimes.cluster.crew import WorkerAddress
from runtimes.cluster.exchange import Topology
from runtimes.cluster.formation import Deployment
from runtimes.cluster.head import Fault, Head
from runtimes.cluster.keys import KeyRing
from runtimes.cluster.open_engine import engine_opener
from runtimes.cluster.shard_folder import ShardFolder, open_shards
from runtimes.cluster.step import OpenEngine
from runtimes.cluster.transfer import StoredShard
from runtimes.cluster.wire import Encoding
from toolchain.cluster.devices import Device
from toolchain.cluster.plan import PLAN_FILE, ClusterPlan, PlanOptions, load_plan
from toolchain.cluster.predict import Payload
from toolchain.cluster.ram import fixed_bytes
from toolchain.cluster.residency import streamable_blocks
from toolchain.cluster.split import KvKind


@dataclass(frozen=True)
class HeadOptions:
    """How to run a model; the model and its split are in the folder.

    Attributes:
        topology: of the exchange.
        encoding: of partial sums.
        slots: sequences at a time.
        capacity: positions per sequence; 0 for the model's context, at most 4096.
        kv: type of the key/value cache.
        max_ram: bytes that the head may use, 0 for no limit.
        worker_ram: bytes that each worker may use; empty for what they grant.
        threads: of the head's kernels.
        key: the head's secret key, None without encryption.
        standby: spares get copies of all shards at the start.
    """

    topology: Topology = Topology.MESH
    encoding: Encoding = Encoding.INT8
    slots: int = 1
    capacity: int = 0
    kv: KvKind = "int8"
    max_ram: int = 0
    worker_ram: tuple[int, ...] = ()
    threads: int = 1
    key: Path | None = None
    standby: bool = False


def deployment_of(
    folder: ShardFolder, workers: Sequence[WorkerAddress], options: HeadOptions
) -> Deployment:
    """Describe a run: hashes the shards that workers may need."""
    ranks = range(len(folder.shares))
    capacity = options.capacity or min(folder.config.context, 4096)
    return Deployment(
        config=folder.config,
        shares=folder.shares,
        shards=tuple(StoredShard.of(rank, folder.shard(rank)) for rank in ranks),
        workers=tuple(workers),
        topology=options.topology,
        encoding=options.encoding,
        slots=options.slots,
        capacity=capacity,
        kv=options.kv,
        least_ram=_least_ram(folder, options, capacity),
        worker_ram=options.worker_ram,
        head_ram=options.max_ram,
        standby=options.standby,
    )


def options_of(plan: ClusterPlan) -> HeadOptions:
    """Return what a plan says about the run."""
    return HeadOptions(
        topology=Topology(plan.topology),
        encoding=Encoding[plan.options.payload.upper()],
        slots=plan.options.slots,
        capacity=plan.options.context,
        kv=plan.options.kv,
        max_ram=plan.ranks[0].device.ram,
        worker_ram=tuple(device.ram for device in _workers(plan)),
    )


def workers_of(plan: ClusterPlan) -> list[WorkerAddress]:
    """Return where the devices of a plan listen, spares last."""
    return [WorkerAddress(device.address, device.key) for device in _workers(plan)]


def open_head(
    shards: Path,
    workers: Sequence[WorkerAddress] = (),
    options: HeadOptions | None = None,
    on_fault: Callable[[Fault], None] | None = None,
    *,
    opener: OpenEngine | None = None,
) -> Head:
    """Start the head of a model.

    Args:
        shards: what ``tessera cluster convert`` wrote.
        workers: of ranks 1, 2 ...; more than needed are spares. Those of the plan beside the
            shards by default.
        options: how to run it; as that plan says by default.
        on_fault: told about every loss after its repair.
        opener: opens the head's own engines; the best for this device by default.

    Returns:
        The head; close it.

    Raises:
        ModelError: E228, not a folder of shards.
        DeviceError, FitError, UsageError: see `runtimes.cluster.head.Head`.
    """
    plan = load_plan(shards / PLAN_FILE) if (shards / PLAN_FILE).exists() else None
    if options is None:
        options = options_of(plan) if plan is not None else HeadOptions()
    if not workers and plan is not None:
        workers = workers_of(plan)
    deployment = deployment_of(open_shards(shards), workers, options)
    keys = KeyRing.load(options.key) if options.key else None
    opener = opener or engine_opener(options.threads)
    return Head(deployment, opener, keys=keys, on_fault=on_fault)


def _workers(plan: ClusterPlan) -> list[Device]:
    devices = [*(rank.device for rank in plan.ranks[1:]), *plan.spares]
    return [device for device in devices if device.address]


def _least_ram(folder: ShardFolder, options: HeadOptions, capacity: int) -> tuple[int, ...]:
    """Bytes each rank needs when all its weights stream."""
    asked = PlanOptions(
        bits=folder.bits,
        payload=cast("Payload", options.encoding.name.lower()),
        kv=options.kv,
        context=capacity,
        slots=options.slots,
    )
    config, count = folder.config, len(folder.shares)
    return tuple(
        fixed_bytes(config, share, count, asked)
        + 2 * max(streamable_blocks(config, share, folder.bits))
        for share in folder.shares
    )
