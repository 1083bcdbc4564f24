"""What saving memory costs: instructions of streamed plans beside those of plain layers.

    python -m benchmarks.overhead [ARCHS.json] [MODEL...] [--only NAME...]

Networks are those of `benchmarks.memory`. Each is executed once per plan on an emulated Cortex-M4F:
as plain layers, by the plan of least memory with the input resident, and by that with the input
fed row by row.

    instructions  of one inference, exact
    over          instructions over those of the plain layers, in percent
    estimate      of `toolchain.kernels.cost`, over the instructions, in percent
    wrong         output elements that differ from the interpreter's
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from benchmarks.counting import count
from benchmarks.memory import graphs
from boards import Board, load_board
from toolchain.ir import Graph
from toolchain.kernels import Isa
from toolchain.plan import Plan, plan_layers, plan_model

BOARD = "emulator_m4_16m"
FORMAT = "{:<36} {:<9} {:>9} {:>13} {:>7} {:>9} {:>6}"
HEAD = ("network", "plan", "arena", "instructions", "over", "estimate", "wrong")


def ways(graph: Graph, board: Board) -> Iterator[tuple[str, Plan]]:
    """Yield the plans of a network, the plain layers first."""
    yield "layers", plan_layers(graph, Isa[board.isa.upper()])
    yield "resident", plan_model(graph, board)
    fed = plan_model(graph, board, fed=True)
    if fed.feed:
        yield "fed", fed


def print_network(graph: Graph, board: Board) -> None:
    """Print the rows of one network."""
    plain, name = 0, graph.name
    for kind, plan in ways(graph, board):
        done = count(graph, board, plan)
        plain = plain or done.instructions
        over, error = done.instructions / plain - 1, plan.instructions / done.instructions - 1
        figures = f"{plan.arena_bytes:,}", f"{done.instructions:,}"
        shares = f"{100 * over:+.1f} %", f"{100 * error:+.1f} %"
        print(FORMAT.format(name, kind, *figures, *shares, done.wrong), flush=True)
        name = ""


def main() -> None:
    """Print the rows of the networks on the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--board", default=BOARD)
    options = parser.parse_args()
    print(FORMAT.format(*HEAD))
    for graph in graphs(options.paths, options.only):
        print_network(graph, load_board(options.board))


if __name__ == "__main__":
    main()
