"""The formulas of the output stage against the two roundings that they stand for."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from toolchain.kernels.output_stage import Filters, Mode, OutputStage, choose
from toolchain.numerics import Int64, requantize

SEEDS = range(60)


def random_filters(rng: np.random.Generator, *, rectified: bool) -> Filters:
    """Return filters that reach much of the output, the last one little of it."""
    count, right = int(rng.integers(2, 24)), int(rng.integers(3, 11))
    alike = rng.random() < 0.3
    multiplier = rng.integers(2**30, 2**31, 1 if alike else count) + np.zeros(count, np.int64)
    shift = -right - (0 if alike else 1) * rng.integers(0, 3, count)
    reach = (rng.uniform(0.2, 2, count) * 2.0 ** (8 - shift)).astype(np.int64)
    reach[-1] //= 512
    start = np.round(rng.normal(0, 0.3, count) * reach).astype(np.int64)
    zero = -128 if rectified else int(rng.integers(-128, 128))
    return Filters(multiplier, shift, start, start - reach, start + reach, zero, (-128, 127))


def wanted(f: Filters, i: int, acc: Int64) -> Int64:
    return np.clip(requantize(acc, f.multiplier[i], f.shift[i]) + f.zero, *f.bounds)


def computed(output: OutputStage, i: int, acc: Int64) -> Int64:
    """Return what the C makes of accumulators, as the module describes it."""
    sums = (acc * ~output.constant[i] << output.fraction) + output.bias[i]
    multiplier, extra = int(output.multiplier[i]), int(output.extra[i])
    if output.mode in (Mode.LEAN, Mode.FINE, Mode.LINEAR):
        made = ((sums * multiplier >> 32) + extra) >> output.shift
    elif output.mode is Mode.SIGNED:
        offset = ((2 * output.zero + 1) << extra) >> 1
        made = ((((2 * sums * multiplier) + 2**31) >> 32) + offset - (sums < 0)) >> extra
    else:
        made = requantize(sums, multiplier, extra) + output.zero
    clipped: Int64 = np.clip(made, *output.bounds)
    return clipped


@pytest.mark.parametrize("lines", [(Mode.LEAN, Mode.LINEAR), (Mode.FINE,)])
def test_every_formula_makes_the_same_outputs(lines: tuple[Mode, ...]) -> None:
    modes = Counter[Mode]()
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        filters = random_filters(rng, rectified=seed % 2 == 0)
        output = choose(filters, lines=lines)
        modes[output.mode] += 1
        for i, (low, high) in enumerate(zip(filters.low, filters.high, strict=True)):
            acc = np.arange(low, high + 1, max(1, (high - low) // 50_000))
            np.testing.assert_array_equal(computed(output, i, acc), wanted(filters, i, acc))
    assert modes[lines[0]] > len(SEEDS) // 4
    assert modes[Mode.SIGNED] > len(SEEDS) // 4


def test_rectified_filters_nearly_always_take_the_formula_of_8_bytes() -> None:
    found = [choose(random_filters(np.random.default_rng(s), rectified=True)) for s in SEEDS]
    assert sum(output.lean for output in found) >= 0.95 * len(found)


def test_filters_of_one_scale_share_all_but_the_bias() -> None:
    for seed in SEEDS:
        f = random_filters(np.random.default_rng(seed), rectified=seed % 2 == 0)
        # The last filter's output is the same for all its inputs, most often an inner one.
        still = (1 if seed % 4 else 10**6) << -f.shift[0]
        low, high = np.append(f.low[:-1], still), np.append(f.high[:-1], still)
        scale = np.full_like(f.multiplier, f.multiplier[0]), np.full_like(f.shift, f.shift[0])
        alike = Filters(*scale, f.start, low, high, f.zero, f.bounds)
        output = choose(alike, common=True)
        assert output.common
        assert output.constant[-1]
        for i in range(len(low)):
            acc = np.linspace(low[i], high[i], 5000).astype(np.int64)
            np.testing.assert_array_equal(computed(output, i, acc), wanted(alike, i, acc))
