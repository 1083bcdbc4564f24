"""Proves a cluster plan, from the model's config alone; knows nothing of how plans are made."""

from __future__ import annotations

from itertools import pairwise

from toolchain.cluster.plan import ClusterPlan, DevicePlan
from toolchain.cluster.ram import fixed_bytes
from toolchain.cluster.split import block_bytes, check_split
from toolchain.errors import FitError


def check_plan(plan: ClusterPlan) -> None:
    """Prove that a plan computes the model and that every device keeps its cap.

    Counts every block of every device anew: it is pinned, or it has a place in the ring while it
    is used and while the next one is read.

    Raises:
        FitError: E310, the shares are not the model; E313, the memory of a device is not as the
            plan says, or exceeds its cap.
    """
    check_split(plan.config, [rank.share for rank in plan.ranks])
    for rank in plan.ranks:
        _check_rank(plan, rank)


def _check_rank(plan: ClusterPlan, rank: DevicePlan) -> None:
    sizes = block_bytes(plan.config, rank.share, plan.options.bits)
    blocks = []
    for _ in range(plan.config.layers):
        blocks += [sizes.attention, sizes.feed_forward]
    blocks.append(sizes.logits)
    residency = rank.residency
    streamed = set(residency.streamed)
    in_order = all(a < b for a, b in pairwise(residency.streamed))
    if not in_order or not streamed <= set(range(len(blocks))):
        raise _wrong(rank, f"streams blocks {residency.streamed} of {len(blocks)}")
    pinned = sum(size for number, size in enumerate(blocks) if number not in streamed)
    cycled = sum(blocks[number] for number in streamed)
    if (pinned, cycled) != (residency.pinned_bytes, residency.streamed_bytes):
        raise _wrong(rank, f"pins {pinned} and streams {cycled} bytes")
    if streamed:
        largest = max(blocks[number] for number in streamed)
        if len(residency.slots) < 2 or min(residency.slots) < largest:
            raise _wrong(rank, f"needs two slots of {largest} bytes, has {residency.slots}")
    fixed = fixed_bytes(plan.config, rank.share, len(plan.ranks), plan.options)
    if fixed > rank.fixed_bytes:
        raise _wrong(rank, f"needs {fixed} bytes besides weights, has {rank.fixed_bytes}")
    total = fixed + pinned + sum(residency.slots)
    if rank.device.ram and total > rank.device.ram:
        raise _wrong(rank, f"needs {total} bytes of the {rank.device.ram} it may use")


def _wrong(rank: DevicePlan, what: str) -> FitError:
    return FitError("E313", f"{rank.device.name} {what}", where=f"rank {rank.share.rank}")
