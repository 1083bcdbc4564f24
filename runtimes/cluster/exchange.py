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

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Protocol

from runtimes.cluster.buffers import Buffer, Rows
from runtimes.cluster.links import Links
from runtimes.cluster.payload import Codec, payload_bytes
from runtimes.cluster.wire import HEADER_BYTES, Encoding, Frame, Header, Kind

_TOTAL_STAGE = 255  # of a frame that carries the finished sum


class Topology(StrEnum):
    """Who sends to whom."""

    MESH = "mesh"  # everyone to everyone: one hop
    STAR = "star"  # to the head and back: two hops, N payloads through one port
    DOUBLING = "doubling"  # log2(N) hops, one payload each


class Exchange(Protocol):
    """Sums partial sums over all ranks; the backends (ZeroMQ, torch.distributed) have this form."""

    def all_reduce(self, step: int, block: int, partials: Mapping[int, Rows]) -> Rows:
        """Return the sum over all ranks.

        Args:
            step: number of the forward pass, the same on all devices.
            block: number of the block in the pass.
            partials: own ranks' partial sums, each (n, hidden).

        Returns:
            (n, hidden), equal bit for bit on all devices; valid until the next call.
        """
        ...


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
        frame = HEADER_BYTES + most * payload_bytes(codec.encoding, values)
        self._frame = Buffer.zeros(frame)
        self._fixed = codec.encoding is Encoding.FIXED
        self._memory = Buffer.zeros(self.ranks * values * (8 if self._fixed else 4))
        self._parts = Rows(self._memory, 0, 0)
        self._each: list[Rows] = []

    def parts(self, values: int) -> Rows:
        """Return the partial sums of all ranks: (ranks, values)."""
        if self._parts.columns != values:
            size = self.ranks * values * (8 if self._fixed else 4)
            self._parts = Rows(self._memory.part(0, size), self.ranks, values, self._fixed)
            self._each = [self._parts.part(rank, rank + 1) for rank in range(self.ranks)]
        return self._parts

    def part(self, values: int, rank: int) -> Rows:
        """Return where a rank's partial sum is received: (1, values)."""
        self.parts(values)
        return self._each[rank]

    def send(self, header: Header, sums: Sequence[Rows], devices: Sequence[int]) -> memoryview:
        """Encode sums one after another, send them, return the payload."""
        size = payload_bytes(self.codec.encoding, sums[0].size)
        end = HEADER_BYTES + size * len(sums)
        frame = self._frame.view[:end]
        frame[:HEADER_BYTES] = header_of(self.links, header, end - HEADER_BYTES, self.codec)
        for start, values in zip(range(HEADER_BYTES, end, size), sums, strict=True):
            self.codec.encode(values, self._frame.part(start, start + size))
        for device in devices:
            self.links.peers[device].send_bytes(frame)
        return frame[HEADER_BYTES:]

    def decode(self, payload: memoryview, ranks: Sequence[int], values: int) -> None:
        """Read the payload of some ranks into their rows of the sum buffer."""
        size = payload_bytes(self.codec.encoding, values)
        for i, rank in enumerate(ranks):
            end = None if i + 1 == len(ranks) else (i + 1) * size  # surplus bytes are an error
            self.codec.decode(payload[i * size : end], self.part(values, rank))

    def add(self, values: int) -> Rows:
        """Add the partial sums of all ranks: (1, values)."""
        self.codec.add_ranks(self.parts(values))
        return self._each[0]

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
    """All ranks are here: nothing is sent.

    Args:
        codec: adds their partial sums.
    """

    def __init__(self, codec: Codec) -> None:
        self._codec = codec

    def all_reduce(self, step: int, block: int, partials: Mapping[int, Rows]) -> Rows:
        """See `Exchange.all_reduce`."""
        del step, block
        form = _form(partials)
        if len(partials) == 1:
            return form
        parts = Rows.empty(len(partials), form.size, fixed=form.fixed)
        for index, rank in enumerate(sorted(partials)):
            parts.part(index, index + 1).memory.view[:] = partials[rank].memory.view
        self._codec.add_ranks(parts)
        return _shaped(parts.part(0, 1), form)


class MeshExchange:
    """Send the own partial sums to every device, add all that come: tau + (N-1) wire / B."""

    def __init__(self, buffers: _Buffers) -> None:
        self._buffers = buffers
        self._others = buffers.others()
        self._awaited = frozenset(self._others)

    def all_reduce(self, step: int, block: int, partials: Mapping[int, Rows]) -> Rows:
        """See `Exchange.all_reduce`."""
        buffers, form = self._buffers, _form(partials)
        header = Header(Kind.PARTIAL, step=step, block=block)
        own = [partials[rank] for rank in buffers.own]
        payload = buffers.send(header, own, self._others)
        buffers.decode(payload, buffers.own, form.size)

        def take(device: int, frame: Frame) -> None:
            buffers.decode(frame.payload, buffers.roster[device], form.size)

        buffers.links.collect(header, self._awaited, take)
        return _shaped(buffers.add(form.size), form)


class StarExchange:
    """Send to the head, which adds and sends the total back: 2 tau + 2 (N-1) wire / B."""

    def __init__(self, buffers: _Buffers) -> None:
        self._buffers = buffers

    def all_reduce(self, step: int, block: int, partials: Mapping[int, Rows]) -> Rows:
        """See `Exchange.all_reduce`."""
        buffers, form = self._buffers, _form(partials)
        header = Header(Kind.PARTIAL, step=step, block=block)
        total = Header(Kind.PARTIAL, step=step, block=block, stage=_TOTAL_STAGE)
        own = [partials[rank] for rank in buffers.own]
        if buffers.links.device == 0:
            self._lead(header, total, own, form.size)
        else:
            buffers.send(header, own, [0])
            buffers.links.collect(
                total,
                frozenset({0}),
                lambda _, frame: buffers.decode(frame.payload, (0,), form.size),
            )
        return _shaped(buffers.part(form.size, 0), form)

    def _lead(self, header: Header, total: Header, own: Sequence[Rows], values: int) -> None:
        """Add what all send, send the sum to all."""
        buffers = self._buffers
        others = buffers.others()
        buffers.decode(buffers.send(header, own, []), buffers.own, values)

        def take(device: int, frame: Frame) -> None:
            buffers.decode(frame.payload, buffers.roster[device], values)

        buffers.links.collect(header, frozenset(others), take)
        summed = buffers.send(total, [buffers.add(values)], others)
        buffers.decode(summed, (0,), values)


class DoublingExchange:
    """Swap sums with partners at distance 1, 2, 4 ...: log2(N) (tau + wire / B).

    Devices beyond the largest power of two hand theirs to a partner first and get the total back.
    One rank per device, in device order.
    """

    def __init__(self, buffers: _Buffers) -> None:
        self._buffers = buffers
        self._power = 1 << (buffers.ranks.bit_length() - 1)

    def all_reduce(self, step: int, block: int, partials: Mapping[int, Rows]) -> Rows:
        """See `Exchange.all_reduce`."""
        rank, power = self._buffers.links.device, self._power
        extra = self._buffers.ranks - power
        own = partials[rank]
        pair = self._buffers.parts(own.size).part(0, 2)
        if rank >= power:
            self._send(step, block, 0, own, rank - power)
            self._take(step, block, _TOTAL_STAGE, rank - power, pair.part(0, 1))
            return _shaped(pair.part(0, 1), own)
        mine = own
        if rank < extra:
            mine = self._fold(step, block, own, pair, rank + power)
        for level in range(power.bit_length() - 1):
            mine = self._swap(step, block, level + 1, mine, pair)
        if extra:  # all must use the total as those beyond the power of two receive it
            targets = [rank + power] if rank < extra else []
            self._send(step, block, _TOTAL_STAGE, mine, *targets, decoded=pair.part(0, 1))
        return _shaped(pair.part(0, 1), own)

    def _fold(self, step: int, block: int, mine: Rows, pair: Rows, device: int) -> Rows:
        """Add the partial sum of a device that only has this one to send to."""
        self._send(step, block, 0, mine, decoded=pair.part(0, 1))
        self._take(step, block, 0, device, pair.part(1, 2))
        return self._sum(pair)

    def _swap(self, step: int, block: int, stage: int, mine: Rows, pair: Rows) -> Rows:
        """Exchange sums with the partner of this stage; both then hold the same new sum."""
        partner = self._buffers.links.device ^ (1 << (stage - 1))
        self._send(step, block, stage, mine, partner, decoded=pair.part(0, 1))
        self._take(step, block, stage, partner, pair.part(1, 2))
        return self._sum(pair)

    def _sum(self, pair: Rows) -> Rows:
        self._buffers.codec.add_ranks(pair)
        return pair.part(0, 1)

    def _send(
        self,
        step: int,
        block: int,
        stage: int,
        values: Rows,
        *devices: int,
        decoded: Rows | None = None,
    ) -> None:
        header = Header(Kind.PARTIAL, step=step, block=block, stage=stage)
        payload = self._buffers.send(header, [values], devices)
        if decoded is not None:
            self._buffers.codec.decode(payload, decoded)

    def _take(self, step: int, block: int, stage: int, device: int, out: Rows) -> None:
        self._buffers.links.collect(
            Header(Kind.PARTIAL, step=step, block=block, stage=stage),
            frozenset({device}),
            lambda _, frame: self._buffers.codec.decode(frame.payload, out),
        )


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
        return LocalExchange(codec)
    buffers = _Buffers(links, roster, codec, values)
    if topology is Topology.STAR:
        return StarExchange(buffers)
    one_each = [tuple(ranks) for ranks in roster] == [(rank,) for rank in range(len(roster))]
    if topology is Topology.DOUBLING and one_each:
        return DoublingExchange(buffers)
    return MeshExchange(buffers)


def _form(partials: Mapping[int, Rows]) -> Rows:
    """Any of the partial sums, for its shape."""
    return next(iter(partials.values()))


def _shaped(total: Rows, form: Rows) -> Rows:
    return Rows(total.memory, form.count, form.columns, total.fixed)
