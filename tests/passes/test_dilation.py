"""Convolutions between blocks of batches become one dilated convolution of equal values."""

from __future__ import annotations

import numpy as np

from tests.ops.random_unary import random_quant
from toolchain.importers.spelled import batch_to_space, space_to_batch
from toolchain.ir import DType, Graph, Node, Operands, Quant, Tensor, constant, run, verify
from toolchain.ops import Conv2D, DepthwiseConv2D, Op
from toolchain.ops.spatial import Pads
from toolchain.passes import simplify


def spelled_out(rng: np.random.Generator) -> Graph:
    """Return a random convolution between blocks, padded and cropped at random."""
    block = int(rng.integers(1, 4)), int(rng.integers(2, 4))
    kernel = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    pads = Pads(*(int(rng.integers(0, k)) for k in (kernel[0], kernel[0], kernel[1], kernel[1])))
    shape = (1, *(int(n) for n in rng.integers(4, 12, 2)), int(rng.integers(1, 4)))
    before = tuple(int(n) for n in rng.integers(0, 8, 2))
    sizes = [n + p for n, p in zip(shape[1:], before, strict=False)]
    most = [k * b for k, b in zip(kernel, block, strict=True)]
    after = tuple(-n % b + m for n, b, m in zip(sizes, block, most, strict=True))
    weights = Tensor("w", (), DType.INT8, Quant.per_tensor(0.02))
    conv: Op = Conv2D(pads=pads)
    if rng.random() < 0.5:
        conv, filters = DepthwiseConv2D(pads=pads), (1, *kernel, shape[3])
    else:
        filters = (3, *kernel, shape[3])
    values = rng.integers(-127, 128, filters, dtype=np.int8)
    quants = random_quant(rng), random_quant(rng)
    x = Tensor("x", shape, DType.INT8, quants[0])
    nodes: list[Node] = []
    tensors = {"x": x, "w": constant("w", values, weights.quant)}

    def add(op: Op, quant: Quant, *others: str) -> None:
        source = nodes[-1].outputs[0] if nodes else "x"
        guess = Tensor(f"t{len(nodes)}", (), DType.INT8, quant)
        inputs = (source, *others)
        ((made, _),) = op.infer(Operands(tuple(tensors[n] for n in inputs), (guess,)))
        tensors[guess.name] = Tensor(guess.name, made, DType.INT8, quant)
        nodes.append(Node(f"n{len(nodes)}", op, inputs, (guess.name,)))

    for op in space_to_batch(shape, block, before, after):
        add(op, quants[0])
    add(conv, quants[1], "w")
    inner = tensors[nodes[-1].outputs[0]].shape
    whole = [n * b for n, b in zip(inner[1:], block, strict=False)]
    cut = [int(rng.integers(0, max(1, n // 3))) for n in whole]
    behind = [int(rng.integers(0, max(1, n // 3))) for n in whole]
    for op in batch_to_space(inner, block, tuple(cut), tuple(behind)):
        add(op, quants[1])
    return verify(Graph("net", tuple(nodes), tensors, ("x",), nodes[-1].outputs))


def test_values_stay_and_most_become_one_convolution() -> None:
    folded = 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        graph = spelled_out(rng)
        made = simplify(graph, check=True)
        x = rng.integers(-128, 128, graph.input_tensors[0].shape, dtype=np.int8)
        for want, got in zip(run(graph, [x]), run(made, [x]), strict=True):
            np.testing.assert_array_equal(got, want, err_msg=f"seed {seed}")
        folded += len(made.nodes) == 1
    assert folded > 60
