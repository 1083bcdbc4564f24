"""Overlap distances against a simulation of bytes."""

from __future__ import annotations

import numpy as np

from toolchain.ir import DType, Operands, Tensor
from toolchain.ops.window import IDENTITY, Slide, Whole, Window, broadcast
from toolchain.plan.overlap import distances


def survives(slide: Slide, rows: tuple[int, int], sizes: tuple[int, int], distance: int) -> bool:
    """Simulate: is each input row whole when read, if the input starts ``distance`` higher?"""
    (in_rows, out_rows), (in_size, out_size) = rows, sizes
    owner = np.zeros(distance + max(in_rows * in_size, out_rows * out_size), int)
    for row in range(in_rows):
        owner[distance + row * in_size : distance + (row + 1) * in_size] = row + 1
    for y in range(out_rows):
        owner[y * out_size : (y + 1) * out_size] = -1
        low, high = slide.needs(y, y + 1)
        for row in range(max(0, low), min(high, in_rows)):
            if (owner[distance + row * in_size : distance + (row + 1) * in_size] != row + 1).any():
                return False
    return True


def test_the_distance_is_the_least_that_survives() -> None:
    rng = np.random.default_rng(0)
    for _ in range(400):
        slide = Slide(*(int(n) for n in rng.integers((1, 1, 0), (5, 4, 3))))
        in_rows, in_size, out_size = (int(n) for n in rng.integers((5, 1, 1), (14, 9, 9)))
        out_rows = (in_rows + slide.pad - slide.extent) // slide.stride + 1
        if out_rows < 2:
            continue
        x = Tensor("x", (1, in_rows, in_size), DType.INT8)
        y = Tensor("y", (1, out_rows, out_size), DType.INT8)
        window = Window((IDENTITY, slide, Whole(in_size)))
        found = distances((window,), Operands((x,), (y,)))
        least = next(
            d
            for d in range(y.nbytes + 1)
            if survives(slide, (in_rows, out_rows), (in_size, out_size), d)
        )
        # A distance of the whole output means apart: no input row may be touched at all.
        if found:
            assert least <= found["x"] <= least + in_size
            assert survives(slide, (in_rows, out_rows), (in_size, out_size), found["x"])


def test_the_distance_of_blocks_is_the_least_that_survives() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        threes, twos = (int(n) for n in rng.integers(0, 4, 2))
        blocks = tuple(run for run in ((3, threes), (2, twos)) if run[1]) or ((1, 1),)
        pixels, in_c, out_c = sum(p * n for p, n in blocks), *rng.integers(1, 9, 2)
        x = Tensor("x", (1, 1, pixels, int(in_c)), DType.INT8)
        y = Tensor("y", (1, 1, pixels, int(out_c)), DType.INT8)
        window = Window((IDENTITY, IDENTITY, IDENTITY, Whole(int(in_c))))
        (found,) = distances((window,), Operands((x,), (y,)), blocks).values()
        least = next(d for d in range(y.nbytes) if blocks_survive(blocks, in_c, out_c, d))
        assert found == least


def blocks_survive(
    blocks: tuple[tuple[int, int], ...], in_c: int, out_c: int, distance: int
) -> bool:
    """Simulate: is no pixel overwritten before its block is read?"""
    ends = np.cumsum([pixels for pixels, count in blocks for _ in range(count)])
    return all(distance + end * in_c >= end * out_c for end in ends[:-1])


def test_growing_elements_start_apart_and_shrinking_ones_in_place() -> None:
    small, large = Tensor("a", (9,), DType.INT8), Tensor("b", (9,), DType.FLOAT32)
    window = (Window((IDENTITY,)),)
    assert distances(window, Operands((small,), (large,))) == {"a": 27}
    assert distances(window, Operands((large,), (small,))) == {"b": 0}


def test_types_that_may_not_alias_stay_apart() -> None:
    a, b = Tensor("a", (9,), DType.INT32), Tensor("b", (9,), DType.FLOAT32)
    assert distances((Window((IDENTITY,)),), Operands((a,), (b,))) == {}


def test_a_broadcast_input_is_not_overwritten() -> None:
    x, scale = Tensor("x", (1, 4, 4, 8), DType.INT8), Tensor("s", (1, 1, 1, 8), DType.INT8)
    y = Tensor("y", x.shape, DType.INT8)
    windows = (broadcast(x.shape, y.shape), broadcast(scale.shape, y.shape))
    assert distances(windows, Operands((x, scale), (y,))) == {"x": 0}
