"""Count what the kernels cost on an emulated Cortex-M4: whole networks, then single layers.

    python -m benchmarks.kernels [FOLDER_OR_FILE...] [--only NAME...] [--no-shapes]

Networks known by their layers only (`benchmarks.networks`) are drawn with random weights and join
the files. Four tables:

- instructions of one inference, exact: the plain layer plan and, in brackets, the default plan (the
  one of least memory; where our bar holds within some bytes, the one of least work within them),
  beside TFLite Micro with CMSIS-NN, TinyEngine, our bar and our aim;
- cycles by the timing model of `runtimes.emulator.cycles`, beside the best published latencies;
- flash: parameters as files hold them, what packing adds (at most 2 %), and all else, instructions,
  look-up tables, start-up code and protocol (at most 24 KB);
- single layers, instructions per multiply-accumulate.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.counting import Count, count
from benchmarks.kernel_shapes import print_shapes
from benchmarks.models import models
from benchmarks.networks import NETWORKS
from benchmarks.published import KNOWN, SILICON
from boards import Board, load_board
from toolchain.cli.pipeline import load_graph
from toolchain.cli.report import Reporter
from toolchain.errors import TesseraError
from toolchain.ir import Graph
from toolchain.kernels import Isa
from toolchain.passes import simplify
from toolchain.plan import Plan, plan_layers, plan_model

BOARD = "emulator_m4_16m"
COUNTS = "{:<24} {:>11} {:>12} {:>12} {:>12} {:>12} {:>12} {:>13} {:>6} {:>9} {:>10} {:>5}"
CYCLES = "{:<24} {:<16} {:>9} {:>12} {:>12} {:>6}  {}"
FLASH = "{:<24} {:>11} {:>11} {:>8} {:>8} {:>10} {:>6}"
CODE_BAR, PACKING_BAR = 24 * 1024, 0.02


def graphs(paths: Sequence[Path], only: Sequence[str]) -> Iterator[tuple[str, Graph]]:
    """Yield the networks of the files, then those drawn here; those in ``only``, if any are."""
    for path in models(paths):
        if not only or path.stem in only:
            try:
                yield path.stem, load_graph(path, Reporter(quiet=True, json=True))
            except TesseraError as error:
                print(f"{path.stem:<24} error[{error.code}]: {error.what}", flush=True)
    for name, draw in NETWORKS.items():
        if not only or name in only:
            yield name, simplify(draw())


def default_plan(graph: Graph, name: str, board: Board) -> Plan:
    """Return the plan of least memory; of least work within the bytes of our bar, if it has any."""
    known = KNOWN.get(name)
    return plan_model(graph, board, max_ram=known.max_ram or None if known else None)


def print_networks(
    networks: Sequence[tuple[str, Graph]], board: Board
) -> dict[str, tuple[Count, Count]]:
    """Print instructions, one row per network; return the counts of layer and default plans."""
    head = (
        "network", "MACs", "CMSIS-NN", "TinyEngine", "bar", "aim", "layers", "[default]", "/MAC",
        "arena", "[default]", "wrong",
    )  # fmt: skip
    print(COUNTS.format(*head))
    found = {}
    for name, graph in networks:
        plans = plan_layers(graph, Isa[board.isa.upper()]), default_plan(graph, name, board)
        layers, default = (count(graph, board, plan) for plan in plans)
        known, found[name] = KNOWN.get(name), (layers, default)
        others = [known.tflm, known.tinyengine, known.bar, known.aim] if known else [0] * 4
        row = (
            f"{graph.macs:,}",
            *(f"{value:,}" if value else "-" for value in others),
            f"{layers.instructions:,}",
            f"[{default.instructions:,}]",
            f"{layers.instructions / max(1, graph.macs):.2f}",
            f"{layers.arena_bytes:,}",
            f"[{default.arena_bytes:,}]",
            layers.wrong + default.wrong,
        )
        print(COUNTS.format(name, *row), flush=True)
    return found


def print_cycles(networks: Sequence[tuple[str, Graph]]) -> None:
    """Print modelled cycles of the layer plans beside the best published latencies."""
    head = ("network", "core", "silicon", "its cycles", "our cycles", "ratio", "our model")
    print(CYCLES.format(*head))
    for name, graph in networks:
        for known in SILICON:
            if name not in known.milliseconds:
                continue
            done = count(graph, load_board(known.emulated))
            theirs = known.milliseconds[name] * 1000 * known.mhz
            times = f"{known.milliseconds[name]} ms", f"{theirs:,.0f}", f"{done.cycles:,}"
            row = name, known.core, *times, f"{done.cycles / theirs:.2f}", done.trust
            print(CYCLES.format(*row), flush=True)


def print_flash(found: dict[str, tuple[Count, Count]]) -> None:
    """Print what the firmware of each plan holds; ``over`` marks what exceeds a bar."""
    print(FLASH.format("network", "parameters", "packed", "growth", "code", "[default]", ""))
    for name, (layers, default) in found.items():
        flash, codes = layers.flash, (layers.flash.code, default.flash.code)
        over = flash.growth > PACKING_BAR or max(codes) > CODE_BAR
        sizes = f"{flash.parameters:,}", f"{flash.packed:,}", f"{100 * flash.growth:.2f} %"
        print(
            FLASH.format(name, *sizes, f"{codes[0]:,}", f"[{codes[1]:,}]", "over" if over else "")
        )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("paths", nargs="*", type=Path)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--no-shapes", action="store_true")
    parser.add_argument("--board", default=BOARD)
    options = parser.parse_args()
    board = load_board(options.board)
    networks = list(graphs(options.paths, options.only))
    found = print_networks(networks, board)
    print()
    print_cycles(networks)
    print()
    print_flash(found)
    if not options.no_shapes:
        print()
        print_shapes(board)


if __name__ == "__main__":
    main()
