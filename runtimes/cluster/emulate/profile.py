"""What emulated devices can do, measured as they will run: side by side, over emulated links.

Processors share a memory bus, devices beyond their number take turns, and the relay needs a
processor too: what one device reaches alone would promise too much. So two models of the width of
the one in question run on a cluster of the same form: a thin one, which is all exchange, and a
thick one whose layers take as long as they will. Their difference is computing, what remains is the
exchange.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from runtimes.cluster.deploy import HeadOptions, deployment_of
from runtimes.cluster.emulate.cluster import EmulatedCluster, pinned, worker_command
from runtimes.cluster.emulate.link import LinkSpec
from runtimes.cluster.head import Head
from runtimes.cluster.open_engine import engine_opener
from runtimes.cluster.profile import disk_bandwidth
from runtimes.cluster.shard_folder import ShardFolder, write_sparse_shards
from toolchain.cluster.config import ModelConfig
from toolchain.cluster.devices import Device, Devices, Link
from toolchain.cluster.plan import PlanOptions
from toolchain.cluster.predict import (
    Payload,
    Prediction,
    Topology,
    batch_seconds,
    network_seconds,
    predict,
)
from toolchain.cluster.ram import fixed_bytes
from toolchain.cluster.residency import plan_residency, streamable_blocks
from toolchain.cluster.split import TILE_COLUMNS, Bits, block_bytes, matrix_bytes

_HEAD_DIM = 64
_THICK_BYTES = 160 << 20  # of all devices together: more than most caches hold
_LAYERS = range(4, 25)  # at least for the exchange, at most for the time
_ROWS = 32  # of a batch
_TURNS, _ROUNDS = 3, {_ROWS: 2, 1: 20}  # passes per turn by positions


@dataclass(frozen=True)
class _Passes:
    """Median seconds of passes over one position and over a batch."""

    one_s: float
    batch_s: float


def profile_emulated(shards: ShardFolder, link: str, options: HeadOptions) -> Devices:
    """Measure an emulated cluster.

    Args:
        shards: the model in question: its devices, width and bits are those of the measurement,
            and the disk is measured where it lies.
        link: between any two devices, see `LinkSpec.parse`.
        options: topology and encoding of the exchange.

    Returns:
        Equal devices, and the link with its overhead (for one device: the time per block) and
        the bandwidth that is reached.

    Raises:
        DeviceError: E520, a worker did not start.
        UsageError: E142, not a link.
    """
    count, bits = len(shards.shares), shards.bits
    options = replace(options, capacity=2 * _ROWS, max_ram=0, slots=1)
    with tempfile.TemporaryDirectory(prefix="tessera-", dir=shards.path) as scratch:
        models = [
            write_sparse_shards(Path(scratch) / str(model.ffn), model, [1.0] * count, bits)
            for model in _thin_and_thick(shards.config, count, bits)
        ]
        disk = disk_bandwidth(Path(scratch)) / count
        command = worker_command(Path(scratch) / "caches", models)
        with EmulatedCluster(count - 1, link, command) as cluster, pinned(0):
            thin, thick = _time(models, cluster, options)
    size, macs = (_extra(function, models) for function in (_weight_bytes, _macs))
    alone = thin.batch_s if count > 1 else thin.one_s  # what is not computed, or not per position
    device = Device(
        name="emulated",
        weights_per_s=size / max(thick.one_s - thin.one_s, 1e-9),
        macs_per_s=_ROWS * macs / max(thick.batch_s - alone, 1e-9),
        disk_per_s=disk,
        block_s=0.0,
    )
    # The thin model computes too: nothing to speak of for a token, since its weights are in caches.
    pairs = [(share, device) for share in models[0].shares]
    computing = batch_seconds(models[0].config, pairs, bits, _ROWS)
    passes = replace(thin, batch_s=thin.batch_s - computing)
    solved, block_s = _solve_link(models[0], passes, LinkSpec.parse(link), options)
    return Devices(solved, (replace(device, block_s=block_s),) * count)


def predict_emulated(
    shards: ShardFolder, devices: Devices, options: HeadOptions, *, prompt: int
) -> Prediction:
    """Predict a model on devices that `profile_emulated` has measured.

    Args:
        shards: the model and its cut.
        devices: as many as there are shards.
        options: of the run; ``max_ram`` is the cap of every device.
        prompt: tokens before the first one that is generated.

    Raises:
        FitError: E312, the cap is too low.
    """
    config, shares, bits = shards.config, shards.shares, shards.bits
    topology, payload = _names(options)
    asked = PlanOptions(bits, payload, options.kv, options.capacity, options.slots, prompt)
    budgets = [options.max_ram - fixed_bytes(config, share, len(shares), asked) for share in shares]
    return predict(
        config,
        shares,
        devices.devices,
        devices.link,
        [
            plan_residency(
                streamable_blocks(config, share, bits), max(budget, 0) if options.max_ram else None
            )
            for share, budget in zip(shares, budgets, strict=True)
        ],
        bits=bits,
        topology=topology,
        payload=payload,
        kv=options.kv,
        prompt=prompt,
    )


def _names(options: HeadOptions) -> tuple[Topology, Payload]:
    """Return topology and payload as plans name them."""
    return cast("Topology", str(options.topology)), cast("Payload", options.encoding.name.lower())


def _thin_and_thick(like: ModelConfig, count: int, bits: Bits) -> Iterator[ModelConfig]:
    """Models of the width of ``like`` whose heads and columns are cut evenly."""
    unit = TILE_COLUMNS * count
    ffn = unit * max(2, like.ffn // unit)
    layer = 2 * matrix_bytes(ffn, like.hidden, bits) + matrix_bytes(like.hidden, ffn, bits)
    layers = min(max(-(-_THICK_BYTES // layer), _LAYERS.start), _LAYERS.stop - 1)
    for columns in (unit, ffn):
        yield _model(count, like.hidden, columns, layers)


def _model(count: int, hidden: int, ffn: int, layers: int) -> ModelConfig:
    """Make a model with as little attention and classifier as there can be."""
    return ModelConfig(
        family="profile",
        hidden=hidden,
        ffn=ffn,
        layers=layers,
        heads=count,
        kv_heads=count,
        head_dim=_HEAD_DIM,
        vocab=16 * count,
        context=2 * _ROWS,
    )


def _time(
    models: Sequence[ShardFolder], cluster: EmulatedCluster, options: HeadOptions
) -> list[_Passes]:
    """Run passes over the models in turns: what disturbs one disturbs all.

    Batches come first, as prompts do: what is slow the first time is part of them.
    """
    times: list[dict[int, list[float]]] = [{rows: [] for rows in _ROUNDS} for _ in models]
    for _ in range(_TURNS):
        for model, found in zip(models, times, strict=True):
            with Head(deployment_of(model, cluster.addresses, options), engine_opener()) as head:
                head.forward(0, [7] * 2, 0, rows=1)
                for rows, rounds in _ROUNDS.items():
                    found[rows] += [_seconds(head, rows) for _ in range(rounds)]
    return [
        _Passes(statistics.median(found[1]), statistics.median(found[_ROWS])) for found in times
    ]


def _seconds(head: Head, rows: int) -> float:
    """Time one pass: a batch at the start, one position behind it."""
    began = time.perf_counter()
    head.forward(0, [7] * rows, 0 if rows == _ROWS else _ROWS, rows=1)
    return time.perf_counter() - began


def _solve_link(
    shards: ShardFolder, thin: _Passes, spec: LinkSpec, options: HeadOptions
) -> tuple[Link, float]:
    """Find bandwidth and overhead from passes that are all exchange; time per block if none."""
    blocks = 2 * shards.config.layers
    nominal = Link(spec.latency_s + spec.jitter_s / 2, spec.bytes_per_s, overhead_s=0.0)
    if len(shards.shares) == 1:
        return nominal, thin.one_s / blocks
    topology, payload = _names(options)

    def network(rows: int, link: Link) -> float:
        return network_seconds(
            *(shards.config, shards.shares, link), topology=topology, payload=payload, rows=rows
        )

    byte = Link(latency_s=0.0, bytes_per_s=1.0, overhead_s=0.0)
    carried = network(_ROWS, byte) - network(1, byte)
    rate = min(carried / max(thin.batch_s - thin.one_s, 1e-9), spec.bytes_per_s)
    reached = replace(nominal, bytes_per_s=rate)
    overhead = max(thin.one_s - network(1, reached), 0.0) / blocks
    return replace(reached, overhead_s=overhead), 0.0


def _extra(size: Callable[[ShardFolder], int], shards: list[ShardFolder]) -> int:
    """How much more the thick model has, on one device."""
    thin, thick = map(size, shards)
    return thick - thin


def _weight_bytes(shards: ShardFolder) -> int:
    sizes = block_bytes(shards.config, shards.shares[0], shards.bits)
    return sizes.feed_forward * shards.config.layers


def _macs(shards: ShardFolder) -> int:
    return 3 * shards.config.hidden * len(shards.shares[0].ffn) * shards.config.layers
