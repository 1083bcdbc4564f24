"""A small network of several layers, and firmware made of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from boards import Board, load_board
from codegen.project import project_files
from runtimes.emulator.emulator import Emulator
from runtimes.toolchains import Toolchain, build_firmware
from toolchain.ir import DType, Graph, Node, Operands, Quant, Tensor, constant, verify
from toolchain.kernels import Isa
from toolchain.numerics import Activation
from toolchain.ops import Conv2D, DepthwiseConv2D, FullyConnected, Op, Reshape
from toolchain.ops.spatial import Pads
from toolchain.plan import Plan, plan_layers


@dataclass(frozen=True, eq=False)
class Network:
    """A graph with its plan and the text of its project."""

    graph: Graph
    plan: Plan
    board: Board
    files: dict[str, str]

    def emulator(self, folder: Path, toolchain: Toolchain | None = None) -> Emulator:
        firmware = build_firmware(self.files, self.board, folder, toolchain)
        return Emulator(firmware, self.board, self.graph, self.plan.hash)

    def inputs(self, seed: int) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        (x,) = self.graph.input_tensors
        return [rng.integers(-128, 128, x.shape, dtype=np.int8)]


@cache
def small_graph() -> Graph:
    """Convolution, depthwise convolution, flattening, fully connected layer."""
    rng = np.random.default_rng(7)
    nodes: list[Node] = []
    tensors = [Tensor("x", (1, 12, 10, 3), DType.INT8, Quant.per_tensor(0.05, 3))]

    def weights(name: str, shape: tuple[int, ...]) -> Tensor:
        values = rng.integers(-127, 128, shape, dtype=np.int8)
        return constant(name, values, Quant.per_tensor(0.01))

    def add(op: Op, *constants: Tensor) -> None:
        name = f"t{len(nodes)}"
        given = (tensors[-1 if not nodes else 0], *constants)
        ((shape, dtype),) = op.infer(Operands(given, (Tensor(name, (), DType.INT8),)))
        quant = given[0].quant if op.name == "reshape" else Quant.per_tensor(0.1, -5)
        made = Tensor(name, shape, dtype, quant)
        nodes.append(Node(f"n{len(nodes)}", op, tuple(t.name for t in given), (name,)))
        tensors.extend(constants)
        tensors.insert(0, made)

    pads = Pads(1, 1, 1, 1)
    add(Conv2D((2, 1), (1, 1), pads, Activation.RELU6), weights("w0", (8, 3, 3, 3)))
    add(DepthwiseConv2D((1, 1), (1, 1), pads, Activation.NONE), weights("w1", (1, 3, 3, 8)))
    add(Reshape((1, 480)))
    add(FullyConnected(), weights("w3", (10, 480)))
    outputs = (nodes[-1].outputs[0],)
    graph = Graph("small", tuple(nodes), {t.name: t for t in tensors}, ("x",), outputs)
    return verify(graph)


@cache
def small_network(board_id: str) -> Network:
    """The small graph as a project for a board."""
    graph, board = small_graph(), load_board(board_id)
    plan = plan_layers(graph, Isa[board.isa.upper()])
    return Network(graph, plan, board, project_files(graph, plan, board, name="model"))
