"""All-reduce of partial sums over ZeroMQ: direct mesh, star, recursive doubling.

Every rank holds a partial sum of the residual stream; afterwards every rank holds the total. What
a rank sends loses precision by the encoding of the payload, so it uses its own partial sum in the
same encoded form; all then add equal numbers in one fixed order, and stay equal bit for bit.

The order is a balanced tree over ranks (ranks beyond the largest power of two are folded in
first): the order of recursive doubling (Thakur, Rabenseifner & Gropp 2005), so with a lossless
payload all three topologies give the same bits. A device may compute several ranks (it took over
those of a lost one); ranks keep their place in the order.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Protocol

import numpy as np

from runtimes.cluster.engine import Partial
from runtimes.cluster.links import Links
from runtimes.cluster.payload import Bytes, Codec
from runtimes.cluster.wire import HEADER_BYTES, Frame, Header, Kind

_TOTAL_STAGE = 255  # of a frame that carries the finished sum


class Topology(StrEnum):
    """Who sends to whom."""

    MESH = "mesh"  # everyone to everyone: one hop
    STAR = "star"  # to the head and back: two hops, N payloads through one port
    DOUBLING = "doubling"  # log2(N) hops, one payload each


class Exchange(Protocol):
    """Sums partial sums over all ranks; the backends (ZeroMQ, torch.distributed) have this form."""

    def all_reduce(self, step: int, block: int, partials: Mapping[int, Partial]) -> Partial:
        """Return the sum over all ranks.

        Args:
            step: number of the forward pass, the same on all devices.
            block: number of the block in the pass.
            partials: own ranks' partial sums, each (n, hidden).

        Returns:
            (n, hidden), equal bit for bit on all devices; valid until the next call.
        """
        ...


def add_in_rank_order(parts: Partial) -> Partial:
    """Add the rows of (ranks, values) in the fixed order; ``parts`` is overwritten."""
    ranks = len(parts)
    power = 1 << (ranks.bit_length() - 1)
    parts[: ranks - power] += parts[power:]
    distance = 1
    while distance < power:
        parts[: power : 2 * distance] += parts[distance : power : 2 * distance]
        distance *= 2
    total: Partial = parts[0]
    return total


class _Buffers:
    """What all topologies need: send and sum buffers, allocated once."""

    def __init__(
        self, links: Links, roster: Sequence[Sequence[int]], codec: Codec, values: int
    ) -> None:
        self.links = links
        self.roster = [tuple(ranks) for ranks in roster]
        self.codec = codec
        self.ranks = sum(len(ranks) for ranks in roster)
        self.own = self.roster[links.device]
        most = max(len(ranks) for ranks in roster)
        # No numpy arrays: for large ones numpy asks for huge pages, of which a token uses little.
        self._frame = mmap.mmap(-1, HEADER_BYTES + most * codec.size(values))
        sums = mmap.mmap(-1, self.ranks * values * codec.dtype.itemsize)
        self._parts = np.frombuffer(sums, codec.dtype)

    def parts(self, count: int) -> Partial:
        """(ranks, count) of the sum buffer."""
        return self._parts[: self.ranks * count].reshape(self.ranks, count)

    def send(self, header: Header, arrays: Sequence[Partial], devices: Sequence[int]) -> Bytes:
        """Encode arrays one after another, send them, return the payload."""
        size = self.codec.size(arrays[0].size)
        end = HEADER_BYTES + size * len(arrays)
        self._frame[:HEADER_BYTES] = header_of(self.links, header, size * len(arrays), self.codec)
        payload = np.frombuffer(self._frame, np.uint8)[HEADER_BYTES:end]
        for i, array in enumerate(arrays):
            self.codec.encode(array, payload[i * size : (i + 1) * size])
        with memoryview(self._frame)[:end] as message:
            for device in devices:
                self.links.peers[device].send_bytes(message)
        return payload

    def decode(self, payload: memoryview | Bytes, ranks: Sequence[int], count: int) -> None:
        """Read the payload of some ranks into their rows of the sum buffer."""
        size = self.codec.size(count)
        for i, rank in enumerate(ranks):
            end = None if i + 1 == len(ranks) else (i + 1) * size  # surplus bytes are an error
            self.codec.decode(payload[i * size : end], self.parts(count)[rank])

    def others(self) -> list[int]:
        """All devices that compute something, without this one; those that follow it first.

        So every device starts with another one, and frames queue at no port: in turn i, device d
        sends to d + i and receives from d - i.
        """
        devices = len(self.roster)
        following = [(self.links.device + i) % devices for i in range(1, devices)]
        return [device for device in following if self.roster[device]]


def header_of(links: Links, header: Header, length: int, codec: Codec) -> bytes:
    """Complete a header with what is the same for all frames of a session."""
    return Header(
        kind=header.kind,
        epoch=links.epoch,
        step=header.step,
        block=header.block,
        stage=header.stage,
        sender=links.device,
        encoding=codec.encoding,
        length=length,
    ).pack()


class LocalExchange:
    """One rank in all: nothing to add."""

    def all_reduce(self, step: int, block: int, partials: Mapping[int, Partial]) -> Partial:
        """See `Exchange.all_reduce`."""
        del step, block
        return next(iter(partials.values()))


class MeshExchange:
    """Send the own partial sums to every device, add all that come: tau + (N-1) wire / B."""

    def __init__(self, buffers: _Buffers) -> None:
        self._buffers = buffers

    def all_reduce(self, step: int, block: int, partials: Mapping[int, Partial]) -> Partial:
        """See `Exchange.all_reduce`."""
        buffers, count, shape = self._buffers, *_form(partials)
        header = Header(Kind.PARTIAL, step=step, block=block)
        others = buffers.others()
        payload = buffers.send(header, [partials[rank] for rank in buffers.own], others)
        buffers.decode(payload, buffers.own, count)

        def take(device: int, frame: Frame) -> None:
            buffers.decode(frame.payload, buffers.roster[device], count)

        buffers.links.collect(header, frozenset(others), take)
        return _shaped(add_in_rank_order(buffers.parts(count)), shape)


class StarExchange:
    """Send to the head, which adds and sends the total back: 2 tau + 2 (N-1) wire / B."""

    def __init__(self, buffers: _Buffers) -> None:
        self._buffers = buffers

    def all_reduce(self, step: int, block: int, partials: Mapping[int, Partial]) -> Partial:
        """See `Exchange.all_reduce`."""
        buffers, count, shape = self._buffers, *_form(partials)
        header = Header(Kind.PARTIAL, step=step, block=block)
        others = buffers.others() if buffers.links.device == 0 else [0]
        own = [partials[rank] for rank in buffers.own]
        payload = buffers.send(header, own, [] if buffers.links.device == 0 else [0])
        total = Header(Kind.PARTIAL, step=step, block=block, stage=_TOTAL_STAGE)
        parts = buffers.parts(count)
        if buffers.links.device == 0:
            buffers.decode(payload, buffers.own, count)

            def take(device: int, frame: Frame) -> None:
                buffers.decode(frame.payload, buffers.roster[device], count)

            buffers.links.collect(header, frozenset(others), take)
            summed = buffers.send(total, [add_in_rank_order(parts)], others)
            buffers.decode(summed, (0,), count)
        else:
            buffers.links.collect(
                total, frozenset({0}), lambda _, frame: buffers.decode(frame.payload, (0,), count)
            )
        return _shaped(parts[0], shape)


class DoublingExchange:
    """Swap sums with partners at distance 1, 2, 4 ...: log2(N) (tau + wire / B).

    Devices beyond the largest power of two hand theirs to a partner first and get the total back.
    One rank per device, in device order.
    """

    def __init__(self, buffers: _Buffers) -> None:
        self._buffers = buffers
        self._power = 1 << (buffers.ranks.bit_length() - 1)

    def all_reduce(self, step: int, block: int, partials: Mapping[int, Partial]) -> Partial:
        """See `Exchange.all_reduce`."""
        rank, power = self._buffers.links.device, self._power
        extra = self._buffers.ranks - power
        count, shape = _form(partials)
        own = partials[rank].reshape(-1)
        if rank >= power:
            self._send(step, block, 0, own, rank - power)
            received = self._take(step, block, _TOTAL_STAGE, rank - power, count)
            return _shaped(received, shape)
        mine, theirs = self._buffers.parts(count)[:2]
        mine[:] = own
        if rank < extra:
            self._fold(step, block, mine, theirs, rank + power)
        for level in range(power.bit_length() - 1):
            self._swap(step, block, level + 1, mine, theirs)
        if extra:  # all must use the total as those beyond the power of two receive it
            targets = [rank + power] if rank < extra else []
            self._send(step, block, _TOTAL_STAGE, mine, *targets, decoded=mine)
        return _shaped(mine, shape)

    def _fold(self, step: int, block: int, mine: Partial, theirs: Partial, device: int) -> None:
        """Add the partial sum of a device that only has this one to send to."""
        self._send(step, block, 0, mine, decoded=mine)
        theirs[:] = self._take(step, block, 0, device, mine.size)
        mine += theirs

    def _swap(self, step: int, block: int, stage: int, mine: Partial, theirs: Partial) -> None:
        """Exchange sums with the partner of this stage; both then hold the same new sum."""
        partner = self._buffers.links.device ^ (1 << (stage - 1))
        self._send(step, block, stage, mine, partner, decoded=mine)
        theirs[:] = self._take(step, block, stage, partner, mine.size)
        mine += theirs

    def _send(
        self,
        step: int,
        block: int,
        stage: int,
        values: Partial,
        *devices: int,
        decoded: Partial | None = None,
    ) -> None:
        header = Header(Kind.PARTIAL, step=step, block=block, stage=stage)
        payload = self._buffers.send(header, [values], devices)
        if decoded is not None:
            self._buffers.codec.decode(payload, decoded)

    def _take(self, step: int, block: int, stage: int, device: int, count: int) -> Partial:
        received: Partial = self._buffers.parts(count)[-1]
        self._buffers.links.collect(
            Header(Kind.PARTIAL, step=step, block=block, stage=stage),
            frozenset({device}),
            lambda _, frame: self._buffers.codec.decode(frame.payload, received),
        )
        return received


def make_exchange(
    topology: Topology, links: Links, roster: Sequence[Sequence[int]], codec: Codec, values: int
) -> Exchange:
    """Build the exchange of a session.

    Args:
        topology: who sends to whom; doubling needs one rank per device in order, else the mesh
            is used (equal results with a lossless payload).
        links: to the other devices.
        roster: ranks of each device.
        codec: of the payloads.
        values: most values of one partial sum.

    Returns:
        The exchange, its buffers allocated.
    """
    if sum(len(ranks) for ranks in roster) == 1:
        return LocalExchange()
    buffers = _Buffers(links, roster, codec, values)
    if topology is Topology.STAR:
        return StarExchange(buffers)
    one_each = [tuple(ranks) for ranks in roster] == [(rank,) for rank in range(len(roster))]
    if topology is Topology.DOUBLING and one_each:
        return DoublingExchange(buffers)
    return MeshExchange(buffers)


def _form(partials: Mapping[int, Partial]) -> tuple[int, tuple[int, ...]]:
    """Values and shape of the partial sums."""
    first = next(iter(partials.values()))
    return first.size, first.shape


def _shaped(values: Partial, shape: tuple[int, ...]) -> Partial:
    result: Partial = values.reshape(shape)
    return result
