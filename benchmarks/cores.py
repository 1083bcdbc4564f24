"""Count what networks cost on the largest and on the smallest cores: Cortex-M55 and Cortex-M0+.

    python -m benchmarks.cores [FOLDER_OR_FILE...] [--board qemu_an547]

Instructions are exact counts of one inference with the plain layer plan, not cycles. On the M55,
the figure of TFLite Micro with CMSIS-NN and 0.7 of it, our bar, stand beside ours; on the M0+, the
figure of TFLite Micro's reference kernels on a Cortex-M4 and half of it. MLPerf Tiny's streaming
wake word network is built here, layer by layer, with random weights.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.kernels import count
from benchmarks.models import models
from boards import load_board
from toolchain.cli.pipeline import load_graph
from toolchain.cli.report import Reporter
from toolchain.errors import TesseraError
from toolchain.ir import DType, Graph, Node, Operands, Quant, Tensor, constant, verify
from toolchain.numerics import Activation
from toolchain.ops import Conv2D, DepthwiseConv2D, FullyConnected, Op, Reshape, Softmax

# TFLite Micro's instructions per inference, by board and network.
KNOWN = {
    "qemu_an547": {
        "kws_ref_model": 1_784_341,
        "vww_96_int8": 6_433_786,
        "pretrainedResnet_quant": 4_812_115,
        "ad01_int8": 149_985,
        "wake word": 411_163,
        "vww": 11_826_849,
        "person_detect": 6_383_572,
    },
    "emulator_m0plus_16m": {
        "kws_ref_model": 43_039_675,
        "vww_96_int8": 100_250_302,
        "pretrainedResnet_quant": 107_403_991,
        "ad01_int8": 1_952_187,
        "wake word": 8_284_680,
        "vww": 189_212_391,
        "person_detect": 95_660_784,
    },
}
# The share of them that is our bar.
SHARE = {"qemu_an547": 0.7, "emulator_m0plus_16m": 0.5}
ROW = "{:<28} {:>10} {:>13} {:>6} {:>13} {:>12} {:>6} {:>7} {:>7} {:>5}"
_TYPICAL = 74.0  # standard deviation of int8 values drawn evenly


def wake_word() -> Graph:
    """Return the layers of MLPerf Tiny's streaming wake word network with random weights.

    Source: mlcommons/tiny, ``benchmark/training/streaming_wakeword``: four depthwise convolutions
    over time (3, 5, 10 and 15 frames), each before a pointwise one, and a classifier of 3 classes.
    """
    rng = np.random.default_rng(0)
    x = Tensor("input", (1, 30, 1, 40), DType.INT8, Quant.per_tensor(0.05, -128))
    nodes: list[Node] = []
    tensors = {x.name: x}
    in_c = 40
    for frames, out_c in ((3, 128), (5, 128), (10, 128), (15, 32)):
        layers = [
            (DepthwiseConv2D(), (1, frames, 1, in_c)),
            (Conv2D(activation=Activation.RELU), (out_c, 1, 1, in_c)),
        ]
        for op, shape in layers:
            x = _weighted(rng, op, shape, x, nodes, tensors)
        in_c = out_c
    x = _node(Reshape((1, in_c)), (x,), x.quant, nodes, tensors)
    x = _weighted(rng, FullyConnected(), (3, in_c), x, nodes, tensors)
    x = _node(Softmax(), (x,), Quant.per_tensor(2.0**-8, -128), nodes, tensors)
    return verify(Graph("wake word", tuple(nodes), tensors, ("input",), (x.name,)))


def _weighted(
    rng: np.random.Generator,
    op: Op,
    shape: tuple[int, ...],
    x: Tensor,
    nodes: list[Node],
    tensors: dict[str, Tensor],
) -> Tensor:
    axis = 3 if isinstance(op, DepthwiseConv2D) else 0
    filters = shape[axis]
    spread = rng.uniform(0.5, 1.5, filters) / math.sqrt(math.prod(shape) / filters) / _TYPICAL
    quant = Quant(tuple(float(np.float32(s)) for s in spread), (0,) * filters, axis)
    weights = constant(f"w{len(nodes)}", rng.integers(-127, 128, shape, dtype=np.int8), quant)
    bias = constant(f"b{len(nodes)}", rng.integers(-3000, 3000, filters, dtype=np.int32))
    tensors |= {weights.name: weights, bias.name: bias}
    zero = 3 if axis == 3 else -128
    return _node(op, (x, weights, bias), Quant.per_tensor(x.scale, zero), nodes, tensors)


def _node(
    op: Op,
    inputs: tuple[Tensor, ...],
    quant: Quant | None,
    nodes: list[Node],
    tensors: dict[str, Tensor],
) -> Tensor:
    y = Tensor(f"y{len(nodes)}", (), DType.INT8, quant)
    (made,) = op.infer(Operands(inputs, (y,)))
    y = tensors[y.name] = Tensor(y.name, made.shape, made.dtype, quant)
    nodes.append(Node(f"layer{len(nodes)}", op, tuple(t.name for t in inputs), (y.name,)))
    return y


def networks(paths: list[Path]) -> Iterator[tuple[str, Graph]]:
    """Yield the model files' networks, then the wake word's."""
    for path in models(paths):
        try:
            yield path.stem, load_graph(path, Reporter(quiet=True, json=True))
        except TesseraError as error:
            print(f"{path.stem:<28} error[{error.code}]: {error.what}", flush=True)
    yield "wake word", wake_word()


def print_board(board_id: str, paths: list[Path]) -> None:
    """Print one row per network."""
    board, share = load_board(board_id), SHARE[board_id]
    print(f"\n{board.name}; the bar is {share} of TFLite Micro's figure")
    head = ("network", "MACs", "instructions", "/MAC", "TFLM", "bar", "share", "code", "arena")
    print(ROW.format(*head, "wrong"))
    for name, graph in networks(paths):
        done, known = count(graph, board), KNOWN[board_id].get(name)
        each, total = f"{done.instructions / max(1, graph.macs):.3f}", f"{done.instructions:,}"
        bars = (f"{known:,}", f"{int(known * share):,}") if known else ("-", "-")
        part = f"{done.instructions / known:.3f}" if known else "-"
        sizes = (done.code_bytes, done.arena_bytes, done.wrong)
        print(ROW.format(name, graph.macs, total, each, *bars, part, *sizes), flush=True)


def main() -> None:
    """Print the table of each board."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("paths", nargs="*", type=Path)
    parser.add_argument("--board", choices=sorted(SHARE), default=None)
    options = parser.parse_args()
    for board_id in (options.board,) if options.board else SHARE:
        print_board(board_id, options.paths)


if __name__ == "__main__":
    main()
