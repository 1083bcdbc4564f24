"""One forward pass as every device runs it, and how logits travel to the head."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from runtimes.cluster.buffers import Rows
from runtimes.cluster.engine import Block, Engine, run_block
from runtimes.cluster.exchange import Exchange
from runtimes.cluster.links import Links
from runtimes.cluster.wire import MAX_PAYLOAD, Encoding, Frame, Header, Kind, WireError
from toolchain.cluster.split import KvKind


@dataclass(frozen=True)
class EngineRequest:
    """What a session asks of an engine.

    Attributes:
        slots: independent sequences.
        capacity: positions per slot.
        reproducible: int64 partial sums.
        kv: type of the key/value cache.
        max_ram: bytes that the process may use in all; 0 for no limit.
    """

    slots: int
    capacity: int
    reproducible: bool
    kv: KvKind
    max_ram: int


OpenEngine: TypeAlias = Callable[[Path, EngineRequest], Engine]


def run_layers(
    engines: Mapping[int, Engine],
    exchange: Exchange,
    hidden: Rows,
    *,
    step: int,
    slot: int,
    position: int,
) -> Rows:
    """Run rows of the residual stream through all layers.

    Args:
        engines: own ranks' engines by rank.
        exchange: sums over all ranks.
        hidden: (n, hidden) float32, equal on all devices.
        step: number of this pass.
        slot: which sequence.
        position: of the first row.

    Returns:
        (n, hidden) float32, equal on all devices.
    """
    first = next(iter(engines.values()))
    for layer in range(first.config.layers):
        for block in Block:
            partials = {
                rank: run_block(engine, block, layer, hidden, slot=slot, position=position)
                for rank, engine in engines.items()
            }
            total = exchange.all_reduce(step, 2 * layer + block, partials)
            hidden = first.combine(layer, block, hidden, total)
    return hidden


def send_logits(links: Links, step: int, engines: Mapping[int, Engine], hidden: Rows) -> None:
    """Send own classifier rows of the last positions to the head, in pieces of a frame."""
    for rank, engine in engines.items():
        if len(engine.share.vocab) == 0:
            continue
        rows = engine.logits(hidden)
        for header, piece in _pieces(links, step, rank, rows.memory.view):
            links.peers[0].send(header, piece)


def receive_logits(links: Links, step: int, rank: int, device: int, out: memoryview) -> None:
    """Wait for one rank's classifier rows.

    Args:
        links: of the head.
        step: number of the pass.
        rank: whose rows.
        device: who computes that rank.
        out: bytes of (n, rows of that rank) float32, filled.
    """
    for header, piece in _pieces(links, step, rank, out):

        def take(_: int, frame: Frame, piece: memoryview = piece) -> None:
            if len(frame.payload) != len(piece):
                raise WireError("E521", f"logits of {len(frame.payload)} bytes")
            piece[:] = frame.payload

        links.collect(header, frozenset({device}), take)


def _pieces(
    links: Links, step: int, rank: int, data: memoryview
) -> Iterator[tuple[Header, memoryview]]:
    """Cut a rank's logits into frames, the same way on both sides."""
    for stage, start in enumerate(range(0, len(data), MAX_PAYLOAD)):
        piece = data[start : start + MAX_PAYLOAD]
        yield (
            Header(
                Kind.LOGITS,
                epoch=links.epoch,
                step=step,
                block=rank,
                stage=stage,
                sender=links.device,
                encoding=Encoding.F32,
                length=len(piece),
            ),
            piece,
        )
