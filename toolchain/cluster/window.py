"""The sliding window of TPI-LLM (Li et al. 2024, arXiv 2410.00531): its conditions and its peak.

The planner uses the conditions to say whether streaming hides behind computing; the peak formula
is kept to compare with: fp32, whole vocabulary on the master, a window counted in blocks.
"""

from __future__ import annotations

from typing import Literal

from toolchain.cluster.config import ModelConfig

Steadiness = Literal["tight", "loose", "stalls"]


def steadiness(
    compute_s: tuple[float, float], exchange_s: float, load_s: tuple[float, float], layers: int
) -> Steadiness:
    """Whether blocks arrive before they are needed (section 4.3 of the paper).

    Tight: every block loads behind the block before it. Loose: over whole layers loading keeps
    up, and over every prefix of layers too, beginning with either kind of block.

    Args:
        compute_s: of an attention block and of a feed-forward block.
        exchange_s: of one all-reduce.
        load_s: reading of an attention block and of a feed-forward block.
        layers: of the model.
    """
    (a, f), ar, (load_a, load_f) = compute_s, exchange_s, load_s
    if a + ar >= load_f and f + ar >= load_a:
        return "tight"

    def holds(first: float, second: float, load_first: float, load_second: float) -> bool:
        return all(
            n * first + (n - 1) * second + (2 * n - 1) * ar
            >= n * load_second + (n - 1) * load_first
            for n in range(1, layers + 1)
        )

    keeps_up = a + f + 2 * ar >= load_a + load_f
    prefixes = holds(a, f, load_a, load_f) or holds(f, a, load_f, load_a)
    return "loose" if keeps_up and prefixes else "stalls"


def peak_values(config: ModelConfig, share: float, window: int) -> tuple[float, float]:
    """Most float values in memory on the master and on a worker (section 4.4, equation 5 ff.).

    Args:
        config: the model.
        share: part of the heads and columns on the device.
        window: blocks in memory at a time.

    Returns:
        Master and worker; 4 bytes each in the paper.
    """
    hidden = config.hidden
    attention = 2 * (1 + config.kv_heads / config.heads) * hidden**2 * share + hidden
    feed_forward = 3 * hidden * config.ffn * share + hidden
    table = hidden * config.vocab
    master: float = (1 if window == 1 else 2) * table + hidden
    if window >= 3:
        master += (window - 2) // 2 * attention + (window - 1) // 2 * feed_forward
    return master, window // 2 * attention + (window + 1) // 2 * feed_forward
