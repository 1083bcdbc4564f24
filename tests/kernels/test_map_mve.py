"""Sums, products, pools and means on the vector extension: emulated, and as portable text."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.kernels.sanitized import assert_portable_text_is_exact
from tests.kernels.vector_board import wrong_seeds
from tests.ops.harness import inferred, random_values, single
from tests.ops.random_binary import random_quants
from tests.ops.random_operands import int8_tensor, random_activation
from toolchain.ir import DType, Graph, Quant, Tensor, constant
from toolchain.kernels import Isa, candidates
from toolchain.ops import Add, AveragePool2D, MaxPool2D, Mean, Mul, Op, Sub
from toolchain.ops.pool import Pool
from toolchain.ops.spatial import Pads

SEEDS = range(60)


def random_map(rng: np.random.Generator) -> Graph:
    """Return a sum or product of two tensors that may broadcast, one perhaps a constant."""
    activation = random_activation(rng)
    ops: list[Op] = [Add(activation), Sub(activation), Mul(activation)]
    return of_two(rng, ops[int(rng.integers(len(ops)))], random_quants(rng))


def random_two_stages(rng: np.random.Generator) -> Graph:
    """Return a sum or difference that no single line of both inputs equals."""
    while True:
        activation = random_activation(rng)
        op = Add(activation) if rng.integers(2) else Sub(activation)
        ratios, zeros = rng.choice([0.125, 0.25, 0.5, 0.75, 1.0], 3), rng.integers(-128, 128, 3)
        a, b, y = (Quant.per_tensor(r, int(z)) for r, z in zip(ratios, zeros, strict=True))
        graph = of_two(rng, op, (a, b, y))
        if op.lower(graph.operands(graph.nodes[0])).kernel == "add":
            return graph


def of_two(rng: np.random.Generator, op: Op, quants: tuple[Quant, Quant, Quant]) -> Graph:
    full = [int(rng.integers(1, 4)), int(rng.integers(1, 4)), int(rng.integers(1, 40))]
    shapes = [tuple(1 if rng.random() < 0.2 else n for n in full) for _ in range(2)]
    pairs = zip("ab", shapes, quants, strict=False)
    a, b = (Tensor(name, shape, DType.INT8, quant) for name, shape, quant in pairs)
    if rng.random() < 0.3:
        b = constant("b", random_values(b, rng), b.quant)
    y = inferred(op, [a, b], Tensor("y", (), DType.INT8, quants[2]))
    return single(op, [a, b], [y])


def random_channels_pool(rng: np.random.Generator) -> Graph:
    """Return a pool of some to many channels."""
    kernel = int(rng.integers(1, 5)), int(rng.integers(1, 5))
    stride = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    pads = Pads(*(int(rng.integers(0, (k + 1) // 2)) for k in np.repeat(kernel, 2)))
    size = [int(k + rng.integers(0, 6)) for k in kernel]
    channels = int(rng.choice([1, 3, 4, 12, 16, 20, 32]))
    x = int8_tensor(rng, "x", (int(rng.integers(1, 3)), *size, channels))
    op: Pool = MaxPool2D(kernel, stride, pads)
    if rng.random() < 0.6:
        half_up = bool(rng.integers(2))
        op = AveragePool2D(kernel, stride, pads, random_activation(rng), half_up=half_up)
    return single(op, [x], [inferred(op, [x], Tensor("y", (), DType.INT8, x.quant))])


def random_channels_mean(rng: np.random.Generator) -> Graph:
    """Return the mean of maps of some to many channels."""
    size = [int(n) for n in rng.integers(2, 7, 2)]
    x = int8_tensor(rng, "x", (1, *size, int(rng.choice([2, 3, 4, 12, 16, 20, 32]))))
    op = Mean((1, 2), keep_dims=bool(rng.integers(2)))
    return single(op, [x], [inferred(op, [x], int8_tensor(rng, "y", ()))])


MAKERS: list[Callable[[np.random.Generator], Graph]] = [
    random_map,
    random_two_stages,
    random_channels_pool,
    random_channels_mean,
]


def any_graph(rng: np.random.Generator) -> Graph:
    return MAKERS[int(rng.choice(len(MAKERS), p=(0.35, 0.2, 0.3, 0.15)))](rng)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("qemu-system-arm"), reason="needs QEMU")
def test_the_emulated_core_is_exact(tmp_path: Path) -> None:
    assert not wrong_seeds(any_graph, tmp_path, range(3 * len(SEEDS)))


@pytest.mark.slow
def test_the_portable_text_is_exact_and_defined(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert_portable_text_is_exact(any_graph, Isa.MVE, tmp_path, range(3 * len(SEEDS)))
    assert "runtime error" not in capfd.readouterr().err


def test_the_random_graphs_reach_every_kernel() -> None:
    seen, sums = set(), set()
    for seed in range(3 * len(SEEDS)):
        graph = any_graph(np.random.default_rng(seed))
        lowered = graph.nodes[0].op.lower(graph.operands(graph.nodes[0]))
        name, numbers = candidates(lowered, Isa.MVE)[0].name, lowered.numbers
        seen.add(name)
        if name in {"add_mve", "affine_mve"}:
            sums.add((name, numbers.get("sign"), numbers["prepared"]))
    binary, pools = {"affine_mve", "add_mve", "mul_mve"}, {"average_pool2d_mve", "max_pool2d_mve"}
    assert binary | pools | {"mean_mve"} <= seen
    ways = (False, False), (False, True)
    assert {("affine_mve", None, way) for way in ways} <= sums
    assert {("add_mve", sign, way) for sign in (-1, 1) for way in ways} <= sums
