"""How long an exchange, a token and a prompt take: arithmetic over measured figures.

A payload of p bytes occupies a port for p + 90 bytes per 1448 (Ethernet, IP and TCP headers at an
MTU of 1500). With one-way latency t and port bandwidth B, over N devices:

======== ============================== ==========================
topology switched                       shared medium
======== ============================== ==========================
mesh     t + (N-1) wire/B               t + N (N-1) wire/B
star     2 t + 2 (N-1) wire/B           2 t + 2 (N-1) wire/B
doubling log2 N (t + wire/B)            log2 N (t + N wire/B)
======== ============================== ==========================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from toolchain.cluster.config import ModelConfig
from toolchain.cluster.devices import Device, Link
from toolchain.cluster.residency import Residency
from toolchain.cluster.split import Bits, KvKind, Share, block_bytes, kv_bytes

Topology = Literal["mesh", "star", "doubling"]
Payload = Literal["int8", "f16", "f32", "fixed"]

TOPOLOGIES: tuple[Topology, ...] = ("mesh", "star", "doubling")
FRAME_BYTES = 1 << 20
_HEADER_BYTES = 32
_SEGMENT, _SEGMENT_OVERHEAD = 1448, 90
_MAX_ROWS = 256


@dataclass(frozen=True)
class Prediction:
    """Seconds of one token and of the time to the first one.

    Attributes:
        compute_s: slowest device of each block, all blocks.
        exchange_s: all exchanges, the hidden state to the workers and the logits back.
        disk_s: slowest device's reading of streamed blocks, which runs beside the rest.
        token_s: compute and exchange, or the disk if that takes longer.
        first_token_s: for the prompt.
    """

    compute_s: float
    exchange_s: float
    disk_s: float
    token_s: float
    first_token_s: float


def payload_bytes(payload: Payload, values: int) -> int:
    """Bytes of partial sums on the wire: int8 has an fp16 scale per group of 32."""
    if payload == "int8":
        return -(-values // 32) * 34
    return values * {"f16": 2, "f32": 4, "fixed": 8}[payload]


def wire_bytes(payload: int) -> int:
    """Bytes on the wire of a frame with its headers."""
    payload += _HEADER_BYTES
    return payload + _SEGMENT_OVERHEAD * -(-payload // _SEGMENT)


def exchange_seconds(topology: Topology, devices: int, payload: int, link: Link) -> float:
    """Time of one all-reduce.

    Args:
        topology: who sends to whom.
        devices: how many.
        payload: bytes of one device's partial sums.
        link: between any two.
    """
    if devices < 2:
        return 0.0
    wire, others = wire_bytes(payload) / link.bytes_per_s, devices - 1
    shared = link.medium == "shared"
    if topology == "mesh":
        time = link.latency_s + (devices if shared else 1) * others * wire
    elif topology == "star":
        time = 2 * (link.latency_s + others * wire)
    else:
        power = 1 << (devices.bit_length() - 1)
        rounds = power.bit_length() - 1 + (2 if devices > power else 0)
        time = rounds * (link.latency_s + (devices if shared else 1) * wire)
    return time + link.overhead_s


def predict(
    config: ModelConfig,
    shares: Sequence[Share],
    devices: Sequence[Device],
    link: Link,
    residencies: Sequence[Residency],
    *,
    bits: Bits,
    topology: Topology,
    payload: Payload,
    kv: KvKind,
    prompt: int,
) -> Prediction:
    """Predict a token after a prompt, and the prompt itself.

    Args:
        config: the model.
        shares: of all ranks.
        devices: of all ranks.
        link: between any two.
        residencies: what each rank streams.
        bits: of a weight.
        topology: of the exchange.
        payload: encoding of partial sums.
        kv: type of the key/value cache.
        prompt: tokens before the first one that is generated.

    Returns:
        The times.
    """
    pairs = list(zip(shares, devices, strict=True))
    network = partial(network_seconds, config, shares, link, topology=topology, payload=payload)
    compute = sum(max(times) for times in _blocks(config, pairs, bits, kv, prompt))
    exchange = network(rows=1)
    disk = max(
        residency.streamed_bytes / device.disk_per_s
        for residency, device in zip(residencies, devices, strict=True)
    )
    first = _logits(config, pairs, bits)
    rows = min(max_rows(config, payload), prompt)
    for start in range(0, prompt, rows):
        n = min(rows, prompt - start)
        batch = batch_seconds(config, pairs, bits, n)
        first += max(batch + network(rows=n, logits=start + n == prompt), disk)
    return Prediction(compute, exchange, disk, max(compute + exchange, disk), first)


def network_seconds(
    config: ModelConfig,
    shares: Sequence[Share],
    link: Link,
    *,
    topology: Topology,
    payload: Payload,
    rows: int,
    logits: bool = True,
) -> float:
    """Time of all that a pass sends: hidden states out, exchanges, logits of one row back.

    Args:
        config: the model.
        shares: of all ranks.
        link: between any two.
        topology: of the exchange.
        payload: encoding of partial sums.
        rows: positions of the pass.
        logits: whether the head wants any.
    """
    count = len(shares)
    if count < 2:
        return 0.0
    sums = payload_bytes(payload, rows * config.hidden)
    exchanges = 2 * config.layers * exchange_seconds(topology, count, sums, link)
    hidden = wire_bytes(4 * rows * config.hidden)
    out = link.latency_s + (count - 1) * hidden / link.bytes_per_s
    owners = [4 * len(share.vocab) for share in shares[1:] if len(share.vocab)] if logits else []
    back = sum(map(wire_bytes, owners)) / link.bytes_per_s + (link.latency_s if owners else 0.0)
    return out + exchanges + back


def max_rows(config: ModelConfig, payload: Payload) -> int:
    """Positions per pass: hidden state and partial sums fit a frame each."""
    per_row = max(payload_bytes(payload, config.hidden), 4 * config.hidden)
    return max(1, min(FRAME_BYTES // per_row, _MAX_ROWS))


def _blocks(
    config: ModelConfig,
    pairs: Sequence[tuple[Share, Device]],
    bits: Bits,
    kv: KvKind,
    position: int,
) -> list[list[float]]:
    """Seconds of every block on every device, one token."""
    attention, feed_forward = [], []
    for share, device in pairs:
        sizes = block_bytes(config, share, bits)
        cache = kv_bytes(config, share, position, kv) / config.layers
        seconds = device.block_s + (sizes.attention + cache) / device.weights_per_s
        attention.append(seconds)
        feed_forward.append(device.block_s + sizes.feed_forward / device.weights_per_s)
    logits = [_logits(config, [pair], bits) for pair in pairs]
    return [attention, feed_forward] * config.layers + [logits]


def batch_seconds(
    config: ModelConfig, pairs: Sequence[tuple[Share, Device]], bits: Bits, n: int
) -> float:
    """Time to compute n positions, without logits: memory or multipliers, the slower.

    Args:
        config: the model.
        pairs: share and device of every rank; the slowest of a block counts.
        bits: of a weight.
        n: positions.
    """
    attention: list[float] = []
    feed_forward: list[float] = []
    for share, device in pairs:
        sizes = block_bytes(config, share, bits)
        q, kv = len(share.heads) * config.head_dim, len(share.kv_heads) * config.head_dim
        macs = config.hidden * (2 * q + 2 * kv), config.hidden * 3 * len(share.ffn)
        for times, size, each in zip(
            (attention, feed_forward), (sizes.attention, sizes.feed_forward), macs, strict=True
        ):
            slower = max(size / device.weights_per_s, n * each / device.macs_per_s)
            times.append(device.block_s + slower)
    return config.layers * (max(attention) + max(feed_forward))


def _logits(config: ModelConfig, pairs: Sequence[tuple[Share, Device]], bits: Bits) -> float:
    return max(
        block_bytes(config, share, bits).logits / device.weights_per_s for share, device in pairs
    )
