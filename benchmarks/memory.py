"""The memory of networks: every plan worth choosing, with the bounds beside it.

    python -m benchmarks.memory [ARCHS.json] [MODEL...] [--only NAME...] [--board ID] [--check]

``ARCHS.json`` holds layer lists (`nas.layer_list`), which get random weights; with it comes
MCUNetV2-large with squeeze-and-excite. Models are imported as ``tessera plan`` does, with int8
ports. Two rows per network, with the input fed row by row and resident, and more where a plan that
computes rows twice needs less:

    F      multiply-accumulates over those of the plain network
    arena  bytes of the plan: activations, rings, scratch, inputs and outputs
    bound  no layout of this plan's stages is smaller
    H      row-liveness bound of plans that compute nothing twice (`benchmarks.row_bound`)
    s      seconds to find all plans of this input

With ``--check`` every plan is checked (`toolchain.plan.check_plan`).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.networks import mcunetv2_large
from benchmarks.row_bound import row_bound
from boards import Board, load_board
from nas.layer_list import build_graph, read_layer_lists
from toolchain.cli.pipeline import load_graph
from toolchain.cli.reading import Reading
from toolchain.cli.report import Reporter
from toolchain.ir import Graph
from toolchain.plan import Plan, check_plan, pareto

FORMAT = "{:<36} {:>9} {:<8} {:>6} {:>9} {:>9} {:>9} {:>6}"
HEAD = ("network", "MMACs", "input", "F", "arena", "bound", "H", "s")


def graphs(paths: Sequence[Path], only: Sequence[str]) -> Iterator[Graph]:
    """Yield the networks in ``paths``; of layer lists those in ``only``, if any are."""
    for path in paths:
        if path.suffix == ".json":
            lists = [*read_layer_lists(path).values(), mcunetv2_large()]
            yield from (build_graph(one) for one in lists if not only or one.name in only)
        else:
            yield load_graph(path, Reporter(quiet=True, json=True), Reading(int8_ports=True))


def worth_choosing(front: Sequence[Plan]) -> list[Plan]:
    """Return the leanest plan that computes nothing twice, and the leaner ones that do."""
    plain = min((p for p in front if p.recomputed_macs == 0), key=lambda p: p.arena_bytes)
    leaner = [p for p in front if p.arena_bytes < plain.arena_bytes]
    return [plain, *sorted(leaner, key=lambda p: p.mac_factor)]


def print_network(graph: Graph, name: str, board: Board, *, check: bool) -> None:
    """Print the rows of one network."""
    for fed in (True, False):
        start = time.perf_counter()
        front = pareto(graph, board, fed=fed)
        seconds = time.perf_counter() - start
        for plan in worth_choosing(front):
            if check:
                check_plan(graph, plan)
            plain = plan.recomputed_macs == 0
            row = (
                name if fed and plain else "",
                f"{graph.macs / 1e6:.2f}" if fed and plain else "",
                "fed" if fed else "resident",
                f"{plan.mac_factor:.3f}",
                f"{plan.arena_bytes:,}",
                f"{plan.lower_bound_bytes:,}",
                f"{row_bound(graph, fed=fed):,}" if plain else "",
                f"{seconds:.1f}" if plain else "",
            )
            print(FORMAT.format(*row), flush=True)


def main() -> None:
    """Print the rows of the networks on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, add_help=True)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--board", default="nucleo_f446re")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    board = load_board(arguments.board)
    print(FORMAT.format(*HEAD))
    for graph in graphs(arguments.paths, arguments.only):
        print_network(graph, graph.name, board, check=arguments.check)


if __name__ == "__main__":
    main()
