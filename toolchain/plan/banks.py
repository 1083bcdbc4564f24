"""Banks: an arena in the right piece of RAM, or in several where no single one holds it.

A board's RAM is one or more contiguous pieces. The largest also holds stack and static data; a
tightly coupled one has no wait states. Where the rest lies behind a bus and a cache (Cortex-M7 and
M55) the arena goes to tightly coupled memory if it fits. Else the buffers that are accessed most
per byte go there, as far as the arena grows no larger by it than the user allows. Where no piece
holds the whole arena it is split over as many as it takes. A buffer never lies in two banks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from boards import Board, Region
from toolchain.errors import FitError
from toolchain.ir.graph import Graph
from toolchain.plan.check import check_plan
from toolchain.plan.fit import DATA_BYTES, STACK_BYTES
from toolchain.plan.layout import Block, Problem, Subsets
from toolchain.plan.lifetimes import word_bytes
from toolchain.plan.plan import ARENA, Plan, Slot
from toolchain.plan.repeats import repeated

CACHED = ("cortex-m7", "cortex-m55")  # cores that reach tightly coupled memory beside a cache
_SHARES = (1, 2, 4, 8)  # of the fast bank's room, tried until the arena grows no longer


@dataclass(frozen=True)
class Bank:
    """A piece of RAM: its name in the plan and the bytes there are for arenas."""

    name: str
    size: int


def banks_of(board: Board) -> tuple[Bank, ...]:
    """Return the RAM that can hold an arena, in order of preference.

    The largest piece, which also holds stack and static data, is called ``"arena"``.
    """
    main = Bank(ARENA, max(0, board.ram.size - STACK_BYTES - DATA_BYTES))
    others = [block for block in board.ram_blocks[1:] if _usable(block)]
    tightly = [Bank(block.name, block.size) for block in others if block.speed == "tcm"]
    rest = [Bank(block.name, block.size) for block in others if block.speed != "tcm"]
    return (*tightly, main, *rest) if board.core in CACHED else (main, *tightly, *rest)


def _usable(block: Region) -> bool:
    """Tell whether an array may lie there.

    An array at address 0 would look like a null pointer; off-chip memory needs its controller.
    """
    return block.start != 0 and (block.speed != "external" or block.enable is not None)


def place(
    graph: Graph, plan: Plan, board: Board, most_bytes: int | None = None, *, kept_bytes: int = 0
) -> Plan | None:
    """Return ``plan`` with its buffers in the banks of ``board``.

    Args:
        graph: the planned graph.
        plan: a plan in one piece.
        board: where it shall run.
        most_bytes: the arena, in whatever banks, may grow to this; by default it only grows where
            it must be split.
        kept_bytes: of the bank of choice that the arena leaves alone.

    Returns:
        ``None`` if no way was found.
    """
    first, *others = banks_of(board)
    banks = (replace(first, size=max(0, first.size - kept_bytes)), *others)
    whole = next((bank for bank in banks if plan.arena_bytes <= bank.size), None)
    if whole is banks[0] or (whole is not None and board.core not in CACHED):
        return _moved(plan, whole.name)
    most = plan.arena_bytes if whole and most_bytes is None else most_bytes
    splitter = _Splitter(graph, plan)
    ways = splitter.quicker(banks[0], whole) if whole else splitter.forced(banks)
    for split in ways:
        if (most is None or split.arena_bytes <= most) and _right(graph, split):
            return split
    return _moved(plan, whole.name) if whole else None


def _right(graph: Graph, plan: Plan) -> bool:
    """Tell whether the checker accepts slots that were moved by what their places tell."""
    try:
        check_plan(graph, plan)
    except FitError:
        return False
    return True


def _moved(plan: Plan, region: str) -> Plan:
    return replace(plan, slots=tuple(replace(slot, region=region) for slot in plan.slots))


class _Splitter:
    """Ways to spread the slots of a plan over banks.

    Slots that share bytes in the plan may do so again if they come to lie in the same bank.
    """

    def __init__(self, graph: Graph, plan: Plan) -> None:
        self.graph, self.plan = repeated(graph, plan.repeats), plan
        self.word = word_bytes(self.graph)
        self.subsets = Subsets(_problem(plan.slots, frozenset(graph.sources), self.word))
        members: dict[str, list[int]] = {}
        for number, slot in enumerate(plan.slots):
            members.setdefault(_tensor_of(slot), []).append(number)
        self.groups = list(members.values())

    def quicker(self, fast: Bank, other: Bank) -> Iterator[Plan]:
        """Yield plans with the hottest buffers in ``fast``, fewer and fewer of them."""
        hot = self._hottest()
        for share in _SHARES:
            part = replace(fast, size=fast.size // share)
            if split := self._spread(hot, (part, other)):
                yield split

    def forced(self, banks: Sequence[Bank]) -> Iterator[Plan]:
        """Yield plans in several banks, that with the hottest buffers in the first bank first."""
        size = [slot.size for slot in self.plan.slots]
        life = [slot.last - slot.first + 1 for slot in self.plan.slots]
        large = sorted(self.groups, key=lambda g: -sum(size[i] for i in g))
        broad = sorted(self.groups, key=lambda g: -sum(size[i] * life[i] for i in g))
        roomy = sorted(banks, key=lambda bank: -bank.size)
        for order in (self._hottest(), large, broad):
            for wanted in (banks, roomy):
                if split := self._spread(order, wanted):
                    yield split

    def _hottest(self) -> list[list[int]]:
        """Return the groups of slots in falling order of accesses per byte."""
        heat, slots = accesses(self.graph, self.plan), self.plan.slots
        density = {
            group[0]: sum(heat[i] for i in group) / max(1, sum(slots[i].size for i in group))
            for group in self.groups
        }
        return sorted(self.groups, key=lambda group: -density[group[0]])

    def _spread(self, order: Sequence[list[int]], banks: Sequence[Bank]) -> Plan | None:
        """Fill one bank after the other; return ``None`` if something is left."""
        left, placed = list(order), dict[int, Slot]()
        for bank in banks:
            taken: list[int] = []
            for group in left:
                if self.subsets.extent({*taken, *group}) * self.word <= bank.size:
                    taken += group
            layout = self.subsets.solve(taken)
            if layout.extent * self.word > bank.size:
                return None
            for number, offset in zip(taken, layout.offsets, strict=True):
                slot = self.plan.slots[number]
                placed[number] = replace(slot, region=bank.name, offset=offset * self.word)
            left = [group for group in left if group[0] not in placed]
        if left:
            return None
        # Banks end to end are one arena, so that its lower bound holds for their sum.
        split = replace(self.plan, slots=tuple(placed[i] for i in range(len(placed))))
        return replace(split, arena_bytes=sum(split.regions.values()))


def accesses(graph: Graph, plan: Plan) -> list[float]:
    """Return about how many bytes are read and written in each slot, per inference.

    Args:
        graph: the graph, with nodes that ``plan`` repeats written out.
        plan: its plan.
    """
    work = dict.fromkeys(graph.tensors, 0.0)
    scratch: dict[str, float] = {}
    for node in graph.nodes:
        operands = graph.operands(node)
        macs = node.op.macs(operands)
        for tensor in operands.activations:
            work[tensor.name] += max(macs, tensor.nbytes)
        for tensor in operands.outputs:
            work[tensor.name] += tensor.nbytes
        scratch[f"{node.name}.scratch"] = 2.0 * max(macs, operands.outputs[0].nbytes)
    return [
        sum(work[tensor] for tensor in slot.tensors or (_tensor_of(slot),) if tensor in work)
        + scratch.get(slot.name, 0.0) * (not slot.tensors)
        for slot in plan.slots
    ]


def _tensor_of(slot: Slot) -> str:
    """Return the tensor whose rows the slot holds; its ring and its fresh row stay together."""
    for kind in (".ring", ".fresh"):
        if not slot.tensors and slot.name.endswith(kind):
            return slot.name.removesuffix(kind)
    return slot.name


def _problem(slots: Sequence[Slot], sources: frozenset[str], word: int) -> Problem:
    """Return the layout problem of slots, in words of so many bytes.

    Those that share bytes may do so again, as far apart as they are or farther: the one that dies
    first is the one that the other runs over, from below.
    """
    blocks = tuple(Block(-(-slot.size // word), slot.first, slot.last) for slot in slots)
    pairs = {
        (i, j): -(-(upper.offset - lower.offset) // word)
        for i, upper in enumerate(slots)
        for j, lower in enumerate(slots)
        if _share(upper, lower) and _age(upper, sources) < _age(lower, sources)
    }
    return Problem(blocks, pairs)


def _share(a: Slot, b: Slot) -> bool:
    together = a.first <= b.last and b.first <= a.last
    return together and a.offset < b.end and b.offset < a.end


def _age(slot: Slot, sources: frozenset[str]) -> tuple[int, int, bool]:
    return slot.last, slot.first, slot.name not in sources
