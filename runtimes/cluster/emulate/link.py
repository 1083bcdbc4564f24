"""What a link is like: latency, bandwidth, jitter, loss; and the clocks that make it so.

A frame of p bytes occupies a port for (p + 90 bytes per 1448 of payload) / bandwidth: Ethernet,
IP and TCP headers at an MTU of 1500, preamble and gap included.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random

from toolchain.errors import UsageError

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


class Port:
    """The two directions of a device's port: when each is free again, in seconds."""

    def __init__(self) -> None:
        self.out_free = 0.0
        self.in_free = 0.0


class Clock:
    """Says when bytes that enter a link leave it.

    Frames pass the switch as they come (cut-through), so an idle link takes latency plus one
    transmission time; contention at either port queues.

    Args:
        spec: of all links.
        seed: of jitter and loss.
    """

    def __init__(self, spec: LinkSpec, seed: int = 0) -> None:
        self._spec = spec
        self._random = Random(seed)

    def due(self, size: int, now: float, sender: Port, receiver: Port, earliest: float) -> float:
        """Book the passage of ``size`` bytes.

        Args:
            size: payload bytes read from a stream at once.
            now: seconds.
            sender: port they leave by.
            receiver: port they arrive at.
            earliest: when bytes of this stream sent before arrive: they cannot be overtaken.

        Returns:
            When the last of them has arrived.
        """
        spec, arrival = self._spec, earliest
        for start in range(0, size, SEGMENT_BYTES):
            frame = min(SEGMENT_BYTES, size - start) + SEGMENT_OVERHEAD
            duration = frame / spec.bytes_per_s
            begin = max(now, sender.out_free)
            sender.out_free = begin + duration
            latency = spec.latency_s
            if spec.jitter_s:
                latency += self._random.random() * spec.jitter_s
            if spec.loss and self._random.random() < spec.loss:
                latency += _RETRANSMIT_S
            receiver.in_free = max(receiver.in_free, begin + latency) + duration
            arrival = max(arrival, receiver.in_free)
        return arrival


def _quantity(text: str, units: dict[str, float]) -> float:
    match = re.fullmatch(_NUMBER + r"\s*([a-z%]+)", text.strip())
    if match is None or match[2] not in units:
        raise ValueError(text)
    return float(match[1]) * units[match[2]]
