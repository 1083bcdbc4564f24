"""RAM of a rank besides the weights that it streams or pins."""

from __future__ import annotations

from toolchain.cluster.config import ModelConfig
from toolchain.cluster.plan import PlanOptions
from toolchain.cluster.predict import FRAME_BYTES, max_rows, payload_bytes
from toolchain.cluster.split import Share, block_bytes, kv_bytes

PROCESS_BYTES = 40 << 20  # a head: interpreter, numpy, sockets
_WORKER_BYTES = 28 << 20  # a worker, which has no numpy
_SCRATCH_ROWS = 32  # positions that the kernels compute at a time


def fixed_bytes(config: ModelConfig, share: Share, ranks: int, options: PlanOptions) -> int:
    """RAM of a rank besides its streams of weights."""
    rows = max_rows(config, options.payload)
    sums = rows * config.hidden * (8 if options.payload == "fixed" else 4) * ranks
    frames = payload_bytes(options.payload, rows * config.hidden) + 2 * FRAME_BYTES
    widest = 2 * len(share.ffn) + 4 * config.hidden + 2 * len(share.heads) * config.head_dim
    scratch = 4 * _SCRATCH_ROWS * widest
    logits = 4 * (config.vocab if share.rank == 0 else len(share.vocab))
    cache = options.slots * kv_bytes(config, share, options.context, options.kv)
    resident = 2 * block_bytes(config, share, options.bits).resident
    process = PROCESS_BYTES if share.rank == 0 else _WORKER_BYTES
    return process + resident + cache + scratch + logits + (sums + frames if ranks > 1 else 0)
