"""What a link is like: latency, bandwidth, jitter, loss; and the switch that makes it so.

A frame of p bytes occupies a port for (p + 90 bytes per 1448 of payload) / bandwidth: Ethernet,
IP and TCP headers at an MTU of 1500, preamble and gap included.
"""

from __future__ import annotations

import heapq
import math
import re
from collections import defaultdict
from dataclasses import dataclass, field
from random import Random
from typing import Generic, TypeVar

from toolchain.errors import UsageError

Item = TypeVar("Item")

SEGMENT_BYTES = 1448
SEGMENT_OVERHEAD = 90
_RETRANSMIT_S = 0.2  # the least retransmission timeout of Linux

_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_BITS = {"kbit": 1e3, "mbit": 1e6, "gbit": 1e9}
_NUMBER = r"(\d+(?:\.\d+)?)"


@dataclass(frozen=True)
class LinkSpec:
    """A link between any two devices, each with one full-duplex port at a switch.

    Attributes:
        latency_s: one way, in seconds.
        bytes_per_s: of each port and direction.
        jitter_s: up to so much is added to the latency, at random; order is kept.
        loss: share of frames that are lost, each costing TCP a retransmission timeout.
    """

    latency_s: float
    bytes_per_s: float
    jitter_s: float = 0.0
    loss: float = 0.0

    @classmethod
    def parse(cls, text: str) -> LinkSpec:
        """Read ``1ms,100Mbit[,jitter=0.2ms][,loss=0.1%]``.

        Raises:
            UsageError: E142, not a link.
        """
        try:
            latency, rate, *more = text.lower().split(",")
            extra = dict(item.split("=", 1) for item in more)
            spec = cls(
                latency_s=_quantity(latency, _SECONDS),
                bytes_per_s=_quantity(rate, _BITS) / 8,
                jitter_s=_quantity(extra.pop("jitter", "0s"), _SECONDS),
                loss=_quantity(extra.pop("loss", "0%"), {"%": 0.01}),
            )
            if extra or spec.bytes_per_s <= 0 or spec.loss >= 1:
                raise ValueError
        except ValueError:
            raise UsageError(
                "E142",
                f"not a link: {text!r:.80}",
                hints=["--link 1ms,100Mbit", "--link 2ms,54Mbit,jitter=1ms,loss=0.1%"],
            ) from None
        return spec


@dataclass
class _Port:
    """The two directions of a device's port: when each is free again, in seconds."""

    out_free: float = 0.0
    in_free: float = 0.0


@dataclass(order=True)
class _Flight(Generic[Item]):
    """Bytes on their way: ``at`` is when the first of them arrives, then when the last has."""

    at: float
    number: int
    duration: float = field(compare=False)
    receiver: int = field(compare=False)
    item: Item = field(compare=False)


class Switch(Generic[Item]):
    """Says when bytes that enter a port leave another one.

    Frames pass as they come (cut-through), so an idle link takes latency plus one transmission
    time. They queue at the port they leave by in the order they are sent, and at the port they
    arrive at in the order in which they get there.

    Args:
        spec: of all links.
        seed: of jitter and loss.
    """

    def __init__(self, spec: LinkSpec, seed: int = 0) -> None:
        self._spec = spec
        self._random = Random(seed)
        self._ports: defaultdict[int, _Port] = defaultdict(_Port)
        self._arriving: list[_Flight[Item]] = []  # heaps
        self._arrived: list[_Flight[Item]] = []
        self._count = 0

    def send(
        self, item: Item, size: int, now: float, sender: int, receiver: int, earliest: float
    ) -> float:
        """Book the passage of ``size`` bytes.

        Args:
            item: what `take` returns once they have arrived.
            size: payload bytes sent at once; none are the end of a stream, which needs no port.
            now: seconds, never less than at the call before.
            sender: device whose port they leave by.
            receiver: device whose port they arrive at.
            earliest: when bytes of this stream sent before arrive: they cannot be overtaken.

        Returns:
            When the first of them arrives.
        """
        frames = -(-size // SEGMENT_BYTES)
        duration = (size + frames * SEGMENT_OVERHEAD) / self._spec.bytes_per_s
        at = now
        if size:
            port = self._ports[sender]
            begin = max(now, port.out_free)
            port.out_free = begin + duration
            at = begin + self._latency(frames)
        at = max(at, earliest)
        self._count += 1
        heapq.heappush(self._arriving, _Flight(at, self._count, duration, receiver, item))
        return at

    def take(self, now: float) -> list[Item]:
        """Return all that has arrived by now, in order."""
        while self._arriving and self._arriving[0].at <= now:
            flight = heapq.heappop(self._arriving)
            port = self._ports[flight.receiver]
            flight.at = port.in_free = max(port.in_free, flight.at) + flight.duration
            heapq.heappush(self._arrived, flight)
        items = []
        while self._arrived and self._arrived[0].at <= now:
            items.append(heapq.heappop(self._arrived).item)
        return items

    def next_event(self) -> float:
        """Return when to `take` again, in seconds; infinity if nothing is on its way."""
        heads = [flights[0].at for flights in (self._arriving, self._arrived) if flights]
        return min(heads, default=math.inf)

    def _latency(self, frames: int) -> float:
        """Seconds until the slowest of frames sent together arrives."""
        spec, latency = self._spec, self._spec.latency_s
        if spec.jitter_s:
            latency += spec.jitter_s * max(self._random.random() for _ in range(frames))
        if spec.loss and any(self._random.random() < spec.loss for _ in range(frames)):
            latency += _RETRANSMIT_S
        return latency


def _quantity(text: str, units: dict[str, float]) -> float:
    match = re.fullmatch(_NUMBER + r"\s*([a-z%]+)", text.strip())
    if match is None or match[2] not in units:
        raise ValueError(text)
    return float(match[1]) * units[match[2]]
