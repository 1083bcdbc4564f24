"""Count what the kernels cost on an emulated Cortex-M: whole networks, then single layers.

    python -m benchmarks.kernels [FOLDER_OR_FILE...] [--no-shapes] [--board emulator_m0plus_16m]

Instructions are exact counts of one inference with the plain layer plan, not cycles. Networks that
TFLite Micro has been measured on (with CMSIS-NN; for boards with portable kernels its reference
kernels) show that figure, our bar and our aim beside it.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.models import models
from boards import Board, load_board
from codegen.project import project_files
from runtimes.emulator.choose import open_emulator
from runtimes.toolchains import build_firmware
from toolchain.cli.arguments import random_cases
from toolchain.cli.pipeline import load_graph
from toolchain.cli.report import Reporter
from toolchain.errors import TesseraError
from toolchain.ir import DType, Graph, Node, Quant, Tensor, constant, run
from toolchain.kernels import Isa
from toolchain.ops import Conv2D, DepthwiseConv2D, FullyConnected, Op
from toolchain.ops.spatial import Pads
from toolchain.plan import plan_layers

BOARD = "emulator_m4_16m"
# Instructions per inference: TFLite Micro + CMSIS-NN -Ofast, our bar, our aim.
KNOWN = {
    "vww_96_int8": (24_720_561, 11_000_000, 9_500_000),
    "pretrainedResnet_quant": (29_875_418, 16_000_000, 14_000_000),
    "kws_ref_model": (7_844_362, 3_900_000, 3_300_000),
    "ad01_int8": (582_348, 400_000, 330_000),
    "person_detect": (23_526_941, 11_000_000, 9_300_000),
    "str_ww_ref_model": (2_226_431, 1_200_000, 1_000_000),
    "vww": (49_374_866, 20_000_000, 16_500_000),
    "detection": (77_709_666, 34_000_000, 27_000_000),
    "mcunetv2_large": (865_297_078, 320_000_000, 270_000_000),
}
# The same of TFLite Micro's reference kernels, on a Cortex-M4, for boards with portable kernels.
PORTABLE = {
    "vww_96_int8": (100_250_302, 50_125_151, 40_000_000),
    "pretrainedResnet_quant": (107_403_991, 53_701_995, 50_000_000),
    "kws_ref_model": (43_039_675, 21_519_837, 15_000_000),
    "ad01_int8": (1_952_187, 976_093, 950_000),
}
NETWORKS = "{:<28} {:>10} {:>13} {:>6} {:>13} {:>12} {:>12} {:>7} {:>7} {:>5}"
SHAPES = "{:<34} {:<22} {:>10} {:>11} {:>6} {:>7} {:>5}"


@dataclass(frozen=True)
class Count:
    """One inference in the emulator."""

    instructions: int
    code_bytes: int
    arena_bytes: int
    wrong: int
    kernel: str


def count(graph: Graph, board: Board) -> Count:
    """Run a graph's plain layer plan on a random input."""
    plan = plan_layers(graph, Isa[board.isa.upper()])
    files = project_files(graph, plan, board, name="model")
    (case,) = random_cases(graph.input_tensors, 1, seed=1)
    with tempfile.TemporaryDirectory() as folder:
        firmware = build_firmware(files, board, Path(folder))
        with open_emulator(firmware, board, graph, plan.hash) as emulator:
            done = emulator.run(case)
    pairs = zip(run(graph, case), done.outputs, strict=True)
    wrong = sum(int(np.count_nonzero(want != got)) for want, got in pairs)
    code = firmware.flash_bytes - graph.weight_bytes
    return Count(done.instructions, code, plan.arena_bytes, wrong, plan.stages[0].kernel)


def layer(op: Op, x_shape: tuple[int, ...], shape: tuple[int, ...], axis: int = 0) -> Graph:
    """Return a layer with random weights and the output stage of a fused ReLU."""
    rng = np.random.default_rng(0)
    filters = shape[axis]
    fan_in = math.prod(shape) // (filters if axis == 0 else shape[0] * filters)
    scales = tuple(float(np.float32(s)) for s in rng.uniform(0.1, 0.2, filters) / fan_in**0.5)
    weights = rng.integers(-127, 128, shape, dtype=np.int8)
    bias = rng.integers(-3000, 3000, filters, dtype=np.int32)
    x = Tensor("x", x_shape, DType.INT8, Quant.per_tensor(0.05, -128))
    y = Tensor("y", x_shape, DType.INT8, Quant.per_tensor(1.0, -128))
    w = constant("w", weights, Quant(scales, (0,) * filters, axis))
    b = constant("b", bias)
    node = Node("layer", op, ("x", "w", "b"), ("y",))
    graph = Graph("layer", (node,), {t.name: t for t in (x, w, b, y)}, ("x",), ("y",))
    (made,) = op.infer(graph.operands(node))
    return graph.with_nodes([node], [Tensor("y", made.shape, made.dtype, y.quant)])


def shapes() -> Iterator[tuple[str, Graph]]:
    """Yield layers that show how the cost depends on the shape."""
    same = Pads(1, 1, 1, 1)
    for in_c, out_c in ((8, 16), (16, 64), (32, 32), (64, 64), (128, 128), (64, 63)):
        pointwise = layer(Conv2D(), (1, 12, 12, in_c), (out_c, 1, 1, in_c))
        yield f"conv 1x1 12x12 {in_c}->{out_c}", pointwise
    for size, in_c, out_c, stride in ((32, 16, 16, 1), (32, 16, 32, 2), (48, 3, 8, 2)):
        op = Conv2D(stride=(stride, stride), pads=same)
        graph = layer(op, (1, size, size, in_c), (out_c, 3, 3, in_c))
        yield f"conv 3x3/{stride} {size}x{size} {in_c}->{out_c}", graph
    for size, kernel, stride in ((48, 3, 1), (48, 3, 2), (6, 3, 1), (24, 5, 1), (24, 7, 1)):
        pad = kernel // 2
        depthwise = DepthwiseConv2D(stride=(stride, stride), pads=Pads(pad, pad, pad, pad))
        graph = layer(depthwise, (1, size, size, 16), (1, kernel, kernel, 16), 3)
        yield f"depthwise {kernel}x{kernel}/{stride} {size}x{size}x16", graph
    for depth, units in ((640, 128), (128, 10)):
        yield (
            f"fully connected {depth}->{units}",
            layer(FullyConnected(), (1, depth), (units, depth)),
        )


def wide_shapes() -> Iterator[tuple[str, Graph]]:
    """Yield the same kinds of layers with int16 activations."""
    same = Pads(1, 1, 1, 1)
    for in_c, out_c in ((16, 64), (64, 64), (64, 63)):
        pointwise = layer(Conv2D(), (1, 12, 12, in_c), (out_c, 1, 1, in_c))
        yield f"16x8 conv 1x1 12x12 {in_c}->{out_c}", widened(pointwise)
    graph = layer(Conv2D(pads=same), (1, 24, 24, 16), (32, 3, 3, 16))
    yield "16x8 conv 3x3/1 24x24 16->32", widened(graph)
    depthwise = DepthwiseConv2D(pads=same)
    graph = layer(depthwise, (1, 24, 24, 64), (1, 3, 3, 64), 3)
    yield "16x8 depthwise 3x3/1 24x24x64", widened(graph)
    graph = layer(FullyConnected(), (1, 640), (128, 640))
    yield "16x8 fully connected 640->128", widened(graph)


def widened(graph: Graph) -> Graph:
    """Return a layer with int16 activations and a 64-bit bias."""
    x, b, y = (graph.tensors[name] for name in ("x", "b", "y"))
    fine = Quant.per_tensor(x.scale / 256), Quant.per_tensor(y.scale / 256)
    wide = [replace(t, dtype=DType.INT16, quant=q) for t, q in zip((x, y), fine, strict=True)]
    bias = constant("b", b.values.astype(np.int64) * 256)
    return graph.with_nodes(graph.nodes, [*wide, bias])


def print_networks(paths: list[Path], board: Board) -> None:
    """Print one row per model file."""
    head = ("network", "MACs", "instructions", "/MAC", "TFLM", "bar", "aim", "code", "arena")
    print(NETWORKS.format(*head, "wrong"))
    bars = PORTABLE if board.isa == "portable" else KNOWN
    for path in models(paths):
        try:
            graph = load_graph(path, Reporter(quiet=True, json=True))
            done = count(graph, board)
        except TesseraError as error:
            print(f"{path.stem:<28} error[{error.code}]: {error.what}", flush=True)
            continue
        known = [f"{value:,}" for value in bars.get(path.stem, ())] or ["-"] * 3
        each = f"{done.instructions / max(1, graph.macs):.2f}"
        total, sizes = f"{done.instructions:,}", (done.code_bytes, done.arena_bytes, done.wrong)
        print(NETWORKS.format(path.stem, graph.macs, total, each, *known, *sizes), flush=True)


def print_shapes(board: Board) -> None:
    """Print one row per layer shape."""
    print(SHAPES.format("layer", "kernel", "MACs", "instructions", "/MAC", "arena", "wrong"))
    for name, graph in (*shapes(), *wide_shapes()):
        done = count(graph, board)
        each = f"{done.instructions / graph.macs:.3f}"
        numbers = (graph.macs, f"{done.instructions:,}", each, done.arena_bytes, done.wrong)
        print(SHAPES.format(name, done.kernel, *numbers), flush=True)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("paths", nargs="*", type=Path)
    parser.add_argument("--no-shapes", action="store_true")
    parser.add_argument("--board", default=BOARD)
    options = parser.parse_args()
    board = load_board(options.board)
    if options.paths:
        print_networks(options.paths, board)
    if not options.no_shapes:
        print_shapes(board)


if __name__ == "__main__":
    main()
