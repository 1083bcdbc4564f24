"""The memory of networks: every plan worth choosing, with bounds and bars beside it.

    python -m benchmarks.memory [ARCHS.json] [MODEL...] [--only NAME...] [--boards ID...] [--check]

``ARCHS.json`` holds layer lists (`nas.layer_list`), which get random weights; with it come
MCUNetV2-large with squeeze-and-excite and the wake word network (`benchmarks.networks`). Models are
imported as by ``tessera compile --int8-ports --channels-last``. Per network and board (`portable`
for none) there is a row with the input fed row by row and one with the input resident, and one more
for each bar on plans that compute rows twice:

    F      multiply-accumulates over those of the plain network
    arena  bytes of the plan: activations, rings, scratch, inputs and outputs
    bound  no layout of this plan's stages is smaller
    H      row-liveness bound of plans that compute nothing twice (`benchmarks.row_bound`)
    gap    of the arena over H, in percent
    bar    bytes that the plan should not exceed (`BARS`), and whether it does
    s      seconds of processor time to find the default plan of this input; "lean": this plan saves
           memory with slower kernels, too (`plan_model` with ``max_macs`` 1)

With ``--check`` every plan is checked (`toolchain.plan.check_plan`).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.networks import mcunetv2_large, wake_word
from benchmarks.row_bound import row_bound
from boards import Board, load_board
from nas.layer_list import build_graph, read_layer_lists
from toolchain.cli.pipeline import load_graph
from toolchain.cli.reading import Reading
from toolchain.cli.report import Reporter
from toolchain.ir import Graph
from toolchain.kernels import Isa
from toolchain.plan import Plan, check_plan, plan_model
from toolchain.plan.search import Search

FORMAT = "{:<36} {:<14} {:<8} {:>6} {:>9} {:>9} {:>9} {:>6} {:>12} {:>5}"
HEAD = ("network", "board", "input", "F", "arena", "bound", "H", "gap", "bar", "s")
PORTABLE = "portable"


@dataclass(frozen=True)
class Bar:
    """Bytes of RAM that a network should not exceed.

    Attributes:
        fed: with the input fed row by row and nothing computed twice.
        again: with rows computed twice, by the greatest factor of multiply-accumulates.
        resident: with the whole input in RAM, 0 for none.
    """

    fed: int
    again: Mapping[float, int] = field(default_factory=dict)
    resident: int = 0


_READING = Reading(int8_ports=True, channels_last=True)
_ANY = 1e6  # a factor that no plan reaches

# Set for this project beyond what is published for the networks.
BARS: Mapping[str, Bar] = {
    "mbv2-w0.35-r144": Bar(25_000, {1.39: 16_900, _ANY: 11_400}),
    "mcunet-vww1": Bar(14_700, {1.35: 12_000}),
    "mcunet-in3": Bar(60_000, {2.0: 45_000, _ANY: 42_600}),
    "mcunet-in0": Bar(11_800),
    "mcunet-in1": Bar(16_800),
    "mcunet-in2": Bar(57_000),
    "mcunet-in4": Bar(76_000),
    "mcunet-vww0": Bar(13_500),
    "mcunet-vww2": Bar(42_000),
    "proxyless-w0.3-r176": Bar(43_000),
    "mbv2-w1.0-r224": Bar(108_000),
    "mcunetv2-large-se": Bar(232_000, {1.25: 130_000}),
    "pretrainedResnet_quant": Bar(9_500),
    "kws_ref_model": Bar(4_200),
    "vww_96_int8": Bar(13_500, resident=30_500),
    "streaming-wake-word": Bar(4_300),
}


def graphs(paths: Sequence[Path], only: Sequence[str]) -> Iterator[Graph]:
    """Yield the networks in ``paths``; of layer lists those in ``only``, if any are."""
    for path in paths:
        if path.suffix == ".json":
            lists = [*read_layer_lists(path).values(), mcunetv2_large()]
            yield from (build_graph(one) for one in lists if not only or one.name in only)
            if not only or "streaming-wake-word" in only:
                yield wake_word()
        else:
            graph = load_graph(path, Reporter(quiet=True, json=True), _READING)
            yield replace(graph, name=path.stem)


def choices(graph: Graph, board: Board | None, *, fed: bool) -> Iterator[tuple[Plan, int, str]]:
    """Yield plans, each with its bar (0 for none) and what the last column says."""
    bar, start = BARS.get(graph.name, Bar(0)), time.process_time()
    isa = Isa.PORTABLE if board is None else Isa[board.isa.upper()]
    search = Search(graph, isa, fed=fed)
    quick, least = search.quick()[-1], search.once()[-1]
    limit = bar.fed if fed else bar.resident
    yield quick, limit, f"{time.process_time() - start:.1f}"
    if least.arena_bytes < quick.arena_bytes:
        yield least, limit, "lean"
    for factor, limit in bar.again.items() if fed else ():
        yield plan_model(graph, board, max_macs=factor, fed=True), limit, "again"


def print_network(graph: Graph, board: Board | None, *, check: bool) -> None:
    """Print the rows of one network on one board."""
    name = graph.name
    for fed in (True, False):
        least = row_bound(graph, fed=fed)
        for plan, bar, note in choices(graph, board, fed=fed):
            if check:
                check_plan(graph, plan)
            fits = "ok" if plan.arena_bytes <= bar else "over"
            row = (
                name,
                PORTABLE if board is None else board.id,
                "fed" if fed else "resident",
                f"{plan.mac_factor:.3f}",
                f"{plan.arena_bytes:,}",
                f"{plan.lower_bound_bytes:,}",
                "" if note == "again" else f"{least:,}",
                "" if note == "again" else f"{100 * (plan.arena_bytes / least - 1):.1f}",
                f"{bar:,} {fits}" if bar else "",
                note,
            )
            print(FORMAT.format(*row), flush=True)
            name = ""


def main() -> None:
    """Print the rows of the networks on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, add_help=True)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--boards", nargs="*", default=["nucleo_f412zg", PORTABLE])
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    boards = [None if name == PORTABLE else load_board(name) for name in arguments.boards]
    print(FORMAT.format(*HEAD))
    for graph in graphs(arguments.paths, arguments.only):
        for board in boards:
            print_network(graph, board, check=arguments.check)


if __name__ == "__main__":
    main()
