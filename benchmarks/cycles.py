"""Modelled cycles on a Cortex-M4 with the waits for its flash, beside the best published latencies.

    python -m benchmarks.cycles [FOLDER_OR_FILE...] [--only NAME...]

For each network with a published latency on the board: cycles of the whole inference by the timing
model of `runtimes.emulator.cycles`, over the published ones; those of them that wait for the flash;
and the RAM for the arena and for weights that stay there.

- layers: one layer after the other, weights read from flash;
- default: the plan of least memory, with weights copied where it has room;
- fed: the same of an input that the caller hands over row by row;
- max-ram: the plan of least work within so many bytes, with weights copied where it has room
  (``tessera compile --max-ram``), and of a fed input;
- hot: the default plan with weights copied to RAM at start (``--hot-weights``).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from benchmarks.counting import count
from benchmarks.kernels import graphs
from benchmarks.published import SILICON
from boards import Board, load_board
from toolchain.ir import Graph
from toolchain.kernels import Isa
from toolchain.plan import Plan, plan_layers, plan_model
from toolchain.plan.heat import with_hot_weights
from toolchain.plan.hot import hot_bytes

MAX_RAM, HOT = 96 * 1024, 400 * 1024
ROW = "{:<24} {:<9} {:>11} {:>11} {:>6} {:>10} {:>12} {:>9} {:>9} {:>6}"


def plans(graph: Graph, board: Board) -> Iterator[tuple[str, Plan]]:
    """Yield the plans that are compared, by name."""
    yield "layers", plan_layers(graph, Isa[board.isa.upper()])
    default = plan_model(graph, board)
    yield "default", default
    yield "fed", plan_model(graph, board, fed=True)
    yield "max-ram", plan_model(graph, board, max_ram=MAX_RAM)
    yield "max, fed", plan_model(graph, board, max_ram=MAX_RAM, fed=True)
    yield "hot", with_hot_weights(graph, default, board, HOT)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("paths", nargs="*", type=Path)
    parser.add_argument("--only", nargs="*", default=[])
    options = parser.parse_args()
    known = SILICON[0]
    board = load_board(known.emulated)
    head = ("network", "plan", "published", "cycles", "ratio", "waits", "instructions", "arena")
    print(ROW.format(*head, "weights", "wrong"))
    for name, graph in graphs(options.paths, options.only):
        if name not in known.milliseconds:
            continue
        published = known.milliseconds[name] * 1000 * known.mhz
        for kind, plan in plans(graph, board):
            done, hot = count(graph, board, plan, waits=True), sum(hot_bytes(graph, plan).values())
            cycles = f"{published:,.0f}", f"{done.cycles:,}", f"{done.cycles / published:.3f}"
            work = f"{done.waits:,}", f"{done.instructions:,}", f"{done.arena_bytes:,}"
            print(ROW.format(name, kind, *cycles, *work, f"{hot:,}", done.wrong), flush=True)


if __name__ == "__main__":
    main()
