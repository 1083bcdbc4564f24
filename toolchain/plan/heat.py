"""Which weights are worth RAM, and in which piece of it, beside the buffers of the arena.

Weights lie in flash, which most cores read with wait states. A convolution reads each of its
weights for every few outputs, a fully connected layer once; so the nodes with the most work per
byte of constants come first. Tightly coupled memory is filled first (DTCM, and CCM, which only
loads and stores reach), then the piece that also holds stack and data, then the others.

Behind a bus (Cortex-M7 and M55) the arena wants the tightly coupled memory as well. Plans that
leave more and more of it to the weights are compared by the reads that wait.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from boards import Board
from toolchain.ir.graph import Graph
from toolchain.plan.banks import CACHED, Bank, accesses, banks_of, place
from toolchain.plan.hot import Constants, node_constants
from toolchain.plan.plan import Hot, Plan
from toolchain.plan.repeats import repeated
from toolchain.plan.staging import without

_SHARES = (1, 2, 4, 8)  # of the fast piece that is kept from the arena
_FLASH_WAITS, _BUS_WAITS = 2, 1  # a read of flash, of RAM behind a bus: only their order is known


def with_hot_weights(graph: Graph, plan: Plan, board: Board, most_bytes: int) -> Plan:
    """Return ``plan`` with the hottest constants in RAM, maybe with its buffers in other banks.

    Args:
        graph: the planned graph.
        plan: a checked plan for ``board``.
        board: where it shall run.
        most_bytes: of RAM that the constants may take.
    """
    constants = list(node_constants(graph, plan))
    ways = [_heated(way, board, constants, most_bytes) for way in _ways(graph, plan, board)]
    return min(ways, key=lambda way: _waits(graph, way, board, constants))


def _ways(graph: Graph, plan: Plan, board: Board) -> Iterator[Plan]:
    """Yield the plan, and others of no more memory that leave fast memory to the weights."""
    yield plan
    fast = banks_of(board)[0]
    if board.core not in CACHED or set(plan.regions) != {fast.name}:
        return
    for share in _SHARES:
        kept = fast.size // share
        if (moved := place(graph, plan, board, kept_bytes=kept)) is not None:
            yield moved


def _heated(plan: Plan, board: Board, constants: list[Constants], most_bytes: int) -> Plan:
    """Return ``plan`` with as many constants as there is room for, the hottest in the fastest."""
    left, taken, places = most_bytes, set[str](), dict[str, str]()
    rooms = {bank.name: bank.size for bank in _rooms(plan, board)}
    for one in sorted(constants, key=lambda one: -one.heat):
        size = sum(size for table, size in one.sizes.items() if table not in taken)
        region = next((name for name, room in rooms.items() if size <= min(room, left)), "")
        if region:
            left -= size
            rooms[region] -= size
            taken |= set(one.sizes)
            places[one.node] = region
    hot = (Hot(one.node, places[one.node]) for one in constants if one.node in places)
    return replace(without(plan, places), hot=tuple(hot))


def _rooms(plan: Plan, board: Board) -> Iterator[Bank]:
    """Yield what the arena leaves of each piece of RAM that works from reset on, fastest first."""
    silent = {block.name for block in board.ram_blocks[1:] if block.enable is not None}
    fast = {block.name for block in board.ram_blocks[1:] if block.speed == "tcm"}
    for bank in sorted(banks_of(board), key=lambda bank: bank.name not in fast):
        if bank.name not in silent:
            used = -(-plan.regions.get(bank.name, 0) // 8) * 8
            yield Bank(bank.name, max(0, bank.size - used) // 8 * 8)


def _waits(graph: Graph, plan: Plan, board: Board, constants: list[Constants]) -> float:
    """Return about how long an inference waits for memory; for ranking only."""
    bus = _BUS_WAITS if board.core in CACHED else 0
    fast = {block.name for block in board.ram_blocks if block.speed == "tcm"}
    places = {hot.node: hot.region for hot in plan.hot}
    read = 0
    for one in constants:
        where = places.get(one.node, "")
        read += one.work * (bus * (where not in fast) if where else _FLASH_WAITS)
    slots = zip(plan.slots, accesses(repeated(graph, plan.repeats), plan), strict=True)
    return read + bus * sum(heat for slot, heat in slots if slot.region not in fast)
