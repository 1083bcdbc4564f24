"""Count what networks cost on the largest and on the smallest cores: Cortex-M55 and Cortex-M0+.

    python -m benchmarks.cores [FOLDER_OR_FILE...] [--board qemu_an547]

Instructions are exact counts of one inference with the plain layer plan, not cycles. On the M55,
the figure of TFLite Micro with CMSIS-NN and 0.7 of it, our bar, stand beside ours; on the M0+, the
figure of TFLite Micro's reference kernels on a Cortex-M4 and half of it. "growth" is what packing
adds to weights, biases and scales, at most 2 %; "code" is the rest of the flash. Networks known by
their layers only are drawn with random weights (`--only` leaves out what it does not name).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from benchmarks.counting import count, flash_of
from benchmarks.kernels import graphs
from boards import load_board
from toolchain.errors import FitError
from toolchain.ir import Graph
from toolchain.kernels import Isa
from toolchain.plan import plan_layers

# TFLite Micro's instructions per inference, by board and network.
KNOWN = {
    "qemu_an547": {
        "kws_ref_model": 1_784_341,
        "vww_96_int8": 6_433_786,
        "pretrainedResnet_quant": 4_812_115,
        "ad01_int8": 149_985,
        "streaming-wake-word": 411_163,
        "vww": 11_826_849,
        "person_detect": 6_383_572,
    },
    "emulator_m0plus_16m": {
        "kws_ref_model": 43_039_675,
        "vww_96_int8": 100_250_302,
        "pretrainedResnet_quant": 107_403_991,
        "ad01_int8": 1_952_187,
        "streaming-wake-word": 8_284_680,
        "vww": 189_212_391,
        "person_detect": 95_660_784,
    },
}
# The share of them that is our bar.
SHARE = {"qemu_an547": 0.7, "emulator_m0plus_16m": 0.5}
HEAD = (
    "network", "MACs", "instructions", "/MAC", "TFLM", "bar", "share", "growth", "code", "arena",
    "wrong",
)  # fmt: skip
ROW = "{:<28} {:>10} {:>13} {:>6} {:>13} {:>12} {:>6} {:>7} {:>7} {:>7} {:>5}"


def print_board(board_id: str, networks: Iterable[tuple[str, Graph]]) -> None:
    """Print one row per network; of one that does not fit the board, what packing adds."""
    board, share = load_board(board_id), SHARE[board_id]
    print(f"\n{board.name}; the bar is {share} of TFLite Micro's figure")
    print(ROW.format(*HEAD))
    for name, graph in networks:
        plan = plan_layers(graph, Isa[board.isa.upper()])
        growth = f"{100 * flash_of(graph, plan, 0).growth:.2f} %"
        try:
            done, known = count(graph, board, plan), KNOWN[board_id].get(name)
        except FitError as error:
            print(f"{name:<28} growth {growth}, error[{error.code}]: {error.what}", flush=True)
            continue
        each, total = f"{done.instructions / max(1, graph.macs):.3f}", f"{done.instructions:,}"
        bars = (f"{known:,}", f"{int(known * share):,}") if known else ("-", "-")
        part = f"{done.instructions / known:.3f}" if known else "-"
        sizes = (growth, done.flash.code, done.arena_bytes, done.wrong)
        print(ROW.format(name, graph.macs, total, each, *bars, part, *sizes), flush=True)


def main() -> None:
    """Print the table of each board."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("paths", nargs="*", type=Path)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--board", choices=sorted(SHARE), default=None)
    options = parser.parse_args()
    for board_id in (options.board,) if options.board else SHARE:
        print_board(board_id, graphs(options.paths, options.only))


if __name__ == "__main__":
    main()
