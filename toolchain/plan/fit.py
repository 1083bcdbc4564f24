"""The fit check: whether a planned network fits a board, known before anything is built.

RAM is all that the firmware needs: the arena (activations, scratch, inputs and outputs), the
stack, and the static data of the runtime. HAL, libc and the application are not counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from boards import Board, Region, all_boards
from toolchain.errors import FitError
from toolchain.ir.graph import Graph
from toolchain.plan.hot import hot_bytes
from toolchain.plan.plan import ARENA, Plan, stage_nodes

STACK_BYTES = 2048
DATA_BYTES = 512
_BOARDS_NAMED = 5
_ALIGNMENT = 8


@dataclass(frozen=True)
class Usage:
    """Bytes needed of one region."""

    region: Region
    needed: int

    @property
    def over(self) -> int:
        """Return by how many bytes the region is too small."""
        return max(0, self.needed - self.region.size)


@dataclass(frozen=True)
class Fit:
    """What a firmware needs of a board's memory.

    Attributes:
        board: the board.
        network: the graph's name.
        arena_bytes: activations, scratch, inputs and outputs.
        stack_bytes: reserved for the stack.
        data_bytes: static data of the runtime, hot weights among them.
        flash_total_bytes: code and constants.
        peak: the node at which most memory is alive, and what is alive there, for messages.
        banks: bytes of arena and hot weights in other RAM than the largest piece, by its name.
        hot: bytes of weights that are copied to RAM at start, by its piece.
    """

    board: Board
    network: str
    arena_bytes: int
    stack_bytes: int
    data_bytes: int
    flash_total_bytes: int
    peak: str
    banks: Mapping[str, int]
    hot: Mapping[str, int] = field(default_factory=dict)

    @property
    def ram_total_bytes(self) -> int:
        """Return arena, stack and static data together."""
        return self.arena_bytes + self.stack_bytes + self.data_bytes

    @property
    def usages(self) -> tuple[Usage, ...]:
        """Return the need of each region that the firmware uses."""
        return self._usages(self.board)

    def _usages(self, board: Board) -> tuple[Usage, ...]:
        pieces = {block.name: block for block in board.ram_blocks[1:]}
        apart = {name: size for name, size in self.banks.items() if name in pieces}
        ram = Usage(board.ram, self.ram_total_bytes - sum(apart.values()))
        banks = (Usage(pieces[name], size) for name, size in apart.items())
        return ram, *banks, Usage(board.flash, self.flash_total_bytes)

    @property
    def fits(self) -> bool:
        """Tell whether every region is large enough."""
        return not any(usage.over for usage in self.usages)

    def other_boards(self) -> tuple[Board, ...]:
        """Return the boards that this firmware would fit, smallest RAM first."""
        real = (board for board in all_boards() if board.flashing is not None)
        fitting = (b for b in real if not any(usage.over for usage in self._usages(b)))
        return tuple(sorted(fitting, key=lambda b: (b.ram.size, b.id)))

    def require(self) -> Fit:
        """Return this if it fits.

        Raises:
            FitError: E301 with bytes over per region, the peak's terms and boards that fit.
        """
        if self.fits:
            return self
        over = [usage for usage in self.usages if usage.over]
        parts = [f"{u.region.name} needs {u.needed} bytes, has {u.region.size}" for u in over]
        others = [board.id for board in self.other_boards()[:_BOARDS_NAMED]]
        hints = [f"--board {name}" for name in others] or ["no known board is large enough"]
        raise FitError(
            "E301",
            f"{self.network} does not fit {self.board.id}: {'; '.join(parts)}",
            where=self.peak,
            numbers={f"{usage.region.name}_over_bytes": usage.over for usage in over},
            hints=hints,
        )


def fit(
    graph: Graph, plan: Plan, board: Board, *, flash_bytes: int, stack_bytes: int = STACK_BYTES
) -> Fit:
    """Weigh ``plan`` against ``board``.

    Args:
        graph: the planned graph.
        plan: its plan.
        board: where it shall run.
        flash_bytes: code and constants of the firmware.
        stack_bytes: what the linker script reserves.
    """
    hot = hot_bytes(graph, plan)
    sizes = plan.arena_bytes, stack_bytes, DATA_BYTES + sum(hot.values()), flash_bytes
    return Fit(board, graph.name, *sizes, _peak(plan), other_banks(plan, hot), hot)


def other_banks(plan: Plan, hot: Mapping[str, int]) -> dict[str, int]:
    """Return the bytes of arena and hot weights in each piece of RAM but the largest."""
    used = {name: -(-size // _ALIGNMENT) * _ALIGNMENT for name, size in plan.regions.items()}
    together = {name: used.get(name, 0) + hot.get(name, 0) for name in (*used, *hot)}
    return {name: size for name, size in together.items() if name != ARENA}


def _peak(plan: Plan) -> str:
    """Return the step at which most bytes are alive, with its terms, largest first."""
    if not plan.stages:
        return "an empty network"
    nodes = [node for stage in plan.stages for node in stage_nodes(stage)]
    alive = [[s for s in plan.slots if s.first <= i <= s.last] for i in range(len(nodes))]
    step = max(range(len(alive)), key=lambda i: sum(slot.size for slot in alive[i]))
    largest = sorted(alive[step], key=lambda slot: -slot.size)
    terms = " + ".join(f'"{slot.name}" {slot.size}' for slot in largest)
    return f'peak at step {step} "{nodes[step]}": {terms} bytes'
