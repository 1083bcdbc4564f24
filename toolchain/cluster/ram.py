"""RAM of a rank besides the weights that it streams or pins."""

from __future__ import annotations

from toolchain.cluster import residency
from toolchain.cluster.config import ModelConfig
from toolchain.cluster.plan import PlanOptions
from toolchain.cluster.predict import FRAME_BYTES, max_rows, payload_bytes
from toolchain.cluster.split import Share, block_bytes

PROCESS_BYTES = 40 << 20  # a head: interpreter, tokenizer, server, sockets
_WORKER_BYTES = 28 << 20  # a worker: interpreter, sockets


def fixed_bytes(config: ModelConfig, share: Share, ranks: int, options: PlanOptions) -> int:
    """RAM of a rank besides its streams of weights: process, engine, sums and frames."""
    rows = max_rows(config, options.payload)
    sums = rows * config.hidden * (8 if options.payload == "fixed" else 4) * ranks
    frames = payload_bytes(options.payload, rows * config.hidden) + 2 * FRAME_BYTES
    logits = 4 * (config.vocab if share.rank == 0 else len(share.vocab))
    reading = block_bytes(config, share, options.bits).resident  # a second copy, at the start
    engine = residency.fixed_bytes(
        *(config, share, options.bits),
        capacity=options.context,
        kv=options.kv,
        slots=options.slots,
    )
    process = PROCESS_BYTES if share.rank == 0 else _WORKER_BYTES
    return process + engine + reading + logits + (sums + frames if ranks > 1 else 0)
