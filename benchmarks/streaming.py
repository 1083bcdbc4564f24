"""What taking each frame once saves over computing the whole window again.

    python -m benchmarks.streaming MODEL...

Instructions of one call in the emulator (Cortex-M4F, plain layer plans), of the window network as
it is and of its step network; memory of both; and the bytes that differ between the firmware of
the step network and the window network without padding in time, over some calls behind the
warm-up: the interpreter computes that window from scratch for each of them.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from boards import load_board
from codegen.project import project_files
from runtimes.emulator.emulator import Emulator
from runtimes.toolchains import build_firmware
from toolchain.cli.arguments import random_cases
from toolchain.cli.pipeline import load_graph
from toolchain.cli.report import Reporter
from toolchain.ir import Graph, run
from toolchain.kernels import Isa
from toolchain.passes import simplify
from toolchain.plan import Plan, plan_layers
from toolchain.streaming import Streamed, stream_over_time

BOARD = "emulator_m4_16m"
CALLS = 10
FORMAT = "{:<28} {:>4} {:>7} {:>13} {:>13} {:>6} {:>9} {:>9} {:>6}"
HEAD = ("model", "hop", "frames", "window", "step", "saved", "arena", "step's", "wrong")


def emulate(graph: Graph, plan: Plan, folder: Path) -> Emulator:
    """Return the firmware of a plan, running in the emulator."""
    board = load_board(BOARD)
    firmware = build_firmware(project_files(graph, plan, board, name="model"), board, folder)
    return Emulator(firmware, board, graph, plan.hash)


def compare(streamed: Streamed, step: Graph, plan: Plan, folder: Path) -> tuple[int, int]:
    """Return the instructions of a step, and its bytes that differ from the window's."""
    (frames,) = step.input_tensors
    hop, calls = streamed.hop, streamed.warm_up + CALLS
    rng = np.random.default_rng(0)
    data = rng.integers(-128, 128, (1, hop * calls, *frames.shape[2:])).astype(frames.dtype.numpy)
    wrong, most = 0, 0
    with emulate(step, plan, folder) as emulator:
        for call in range(calls):
            done = emulator.run([np.ascontiguousarray(data[:, call * hop : (call + 1) * hop])])
            most = max(most, done.instructions)
            if call + 1 < streamed.warm_up:
                continue
            end = (call + 1) * hop - streamed.lag
            window = np.ascontiguousarray(data[:, end - streamed.frames : end])
            pairs = zip(run(streamed.window, [window]), done.outputs, strict=True)
            wrong += sum(int(np.count_nonzero(want != got)) for want, got in pairs)
    return most, wrong


def measure(path: Path) -> tuple[object, ...]:
    """Return the row of one model."""
    graph = load_graph(path, Reporter(quiet=True, json=True))
    streamed = stream_over_time(graph)
    step = simplify(streamed.step)
    whole_plan, step_plan = plan_layers(graph, Isa.DSP), plan_layers(step, Isa.DSP)
    with tempfile.TemporaryDirectory() as folder:
        with emulate(graph, whole_plan, Path(folder) / "window") as emulator:
            whole = emulator.run(random_cases(graph.input_tensors, 1, seed=0)[0]).instructions
        one, wrong = compare(streamed, step, step_plan, Path(folder) / "step")
    saved = f"{whole / one:.1f}x"
    sizes = whole_plan.arena_bytes, step_plan.arena_bytes
    return (
        path.stem,
        streamed.hop,
        streamed.frames,
        f"{whole:,}",
        f"{one:,}",
        saved,
        *sizes,
        wrong,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", type=Path)
    print(FORMAT.format(*HEAD))
    for path in parser.parse_args().models:
        print(FORMAT.format(*measure(path)), flush=True)


if __name__ == "__main__":
    main()
