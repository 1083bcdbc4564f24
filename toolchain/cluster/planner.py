"""Finds the fastest cluster plan that fits.

Weighs every number of devices (the head, then the fastest), every topology, and the classifier
split or whole on the head. The best plan of each number of devices stays in the plan as an
alternative, so that its advice can be followed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from toolchain.cluster.config import ModelConfig
from toolchain.cluster.devices import Device, Devices, Link
from toolchain.cluster.plan import Alternative, ClusterPlan, DevicePlan, PlanOptions
from toolchain.cluster.predict import TOPOLOGIES, Topology, predict
from toolchain.cluster.ram import fixed_bytes
from toolchain.cluster.residency import plan_residency, streamable_blocks
from toolchain.cluster.split import Share, Span, split
from toolchain.errors import FitError, UsageError


def make_plan(
    config: ModelConfig, devices: Devices, options: PlanOptions | None = None
) -> ClusterPlan:
    """Find the fastest plan that fits.

    Args:
        config: the model.
        devices: the head first.
        options: what is asked.

    Returns:
        The plan; devices it does not use are spares.

    Raises:
        FitError: E312, no number of devices has the memory.
        UsageError: E148, more devices asked for than there are.
    """
    options = options or PlanOptions()
    head, *others = devices.devices
    ordered = (head, *sorted(others, key=lambda device: -device.weights_per_s))
    if options.count > len(ordered):
        raise UsageError("E148", f"{options.count} devices asked for, {len(ordered)} are known")
    best: dict[int, ClusterPlan] = {}
    misfit: FitError | None = None
    for count in range(1, len(ordered) + 1):
        try:
            best[count] = _best_of(config, ordered, count, devices.link, options)
        except FitError as error:
            misfit = error
    if not best or (options.count and options.count not in best):
        raise misfit or FitError("E312", "no device")
    alternatives = tuple(
        Alternative(count, plan.topology, plan.prediction.token_s, plan.prediction.first_token_s)
        for count, plan in best.items()
    )
    fastest = min(best.values(), key=lambda plan: plan.prediction.token_s)
    winner = best[options.count] if options.count else fastest
    advice = _advice(len(winner.ranks), alternatives, misfit)
    return dataclasses.replace(winner, alternatives=alternatives, advice=advice)


def _best_of(
    config: ModelConfig, ordered: Sequence[Device], count: int, link: Link, options: PlanOptions
) -> ClusterPlan:
    """Return the fastest plan over exactly ``count`` devices."""
    used = ordered[:count]
    even = split(config, [device.weights_per_s for device in used])
    cuts = [even] if count == 1 else [even, _whole_vocabulary(config, even)]
    plans: list[ClusterPlan] = []
    misfit: FitError | None = None
    for shares in cuts:
        try:
            ranks = tuple(
                _rank(config, device, share, count, options)
                for device, share in zip(used, shares, strict=True)
            )
        except FitError as error:
            misfit = error
            continue
        spares = tuple(ordered[count:])
        plans += [
            _plan(config, ranks, spares=spares, topology=topology, link=link, options=options)
            for topology in (TOPOLOGIES if count > 1 else TOPOLOGIES[:1])
        ]
    if not plans:
        raise misfit or FitError("E312", "no cut")
    return min(plans, key=lambda plan: plan.prediction.token_s)


def _whole_vocabulary(config: ModelConfig, shares: Sequence[Share]) -> tuple[Share, ...]:
    """All classifier rows on the head: no logits cross the network."""
    end = Span(config.vocab, config.vocab)
    return tuple(
        dataclasses.replace(share, vocab=end if share.rank else Span(0, config.vocab))
        for share in shares
    )


def _rank(
    config: ModelConfig, device: Device, share: Share, count: int, options: PlanOptions
) -> DevicePlan:
    fixed = fixed_bytes(config, share, count, options)
    budget = max(device.ram - fixed, 0) if device.ram else None
    try:
        residency = plan_residency(streamable_blocks(config, share, options.bits), budget)
    except FitError as error:
        needed = fixed + int(error.numbers.get("needed", 0))
        raise FitError(
            "E312",
            f"{device.name} has {device.ram} bytes of RAM to give, its share needs {needed}"
            f" ({fixed} for process, cache and buffers)",
            where=device.name,
            numbers={"needed": needed, "available": device.ram, "over": needed - device.ram},
            hints=["a lower --context, a higher ram in cluster.toml, or one more device"],
        ) from None
    return DevicePlan(device, share, fixed, residency)


def _plan(
    config: ModelConfig,
    ranks: tuple[DevicePlan, ...],
    *,
    spares: tuple[Device, ...],
    topology: Topology,
    link: Link,
    options: PlanOptions,
) -> ClusterPlan:
    prediction = predict(
        config,
        [rank.share for rank in ranks],
        [rank.device for rank in ranks],
        link,
        [rank.residency for rank in ranks],
        bits=options.bits,
        topology=topology,
        payload=options.payload,
        kv=options.kv,
        prompt=options.prompt,
    )
    return ClusterPlan(config, options, topology, link, ranks, spares, prediction, (), "")


def _advice(count: int, alternatives: Sequence[Alternative], misfit: FitError | None) -> str:
    """One sentence with figures: is it worth splitting, and why not fewer or more."""
    by_count = {other.devices: other.token_s * 1e3 for other in alternatives}
    fastest = min(by_count, key=by_count.__getitem__)
    here = f"{_devices(count)}: {by_count[count]:.1f} ms per token"
    if count != fastest:
        return f"{here}; {_devices(fastest)} would take {by_count[fastest]:.1f} ms"
    if count == 1 and len(by_count) > 1:
        second = min((n for n in by_count if n > 1), key=by_count.__getitem__)
        return (
            f"use {here}, {by_count[second]:.1f} ms on {second}, since the link costs"
            " more than the others save; more memory is the only reason to add devices"
        )
    if 1 in by_count and count > 1:
        return f"use {here}, {by_count[1]:.1f} ms on one"
    if count > 1 and misfit is not None:
        return f"use {here}; fewer do not fit: {misfit.what}"
    return here


def _devices(count: int) -> str:
    return "one device" if count == 1 else f"{count} devices"
