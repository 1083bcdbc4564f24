from __future__ import annotations

import numpy as np
import pytest

from tests.quantization.networks import float_graph, inputs
from toolchain.ir import Array
from toolchain.quantization import compare_layers, prepare, quantize
from toolchain.quantization.calibrate import calibrate
from toolchain.quantization.grids import choose_grids
from toolchain.quantization.least_squares import fitted, moments, rounded, rounded_at_best
from toolchain.quantization.ranges import minmax
from toolchain.quantization.reconstruct import reconstruct


def correlated(rng: np.random.Generator, groups: int, rows: int, k: int) -> Array:
    mixed = rng.normal(0, 1, (groups, rows, k)) @ rng.normal(0, 1, (groups, k, k))
    return (mixed + 0.5).astype(np.float32)


def gptq(x: Array, weights: Array, scale: float) -> Array:
    """Return weights rounded as the paper has it: with the Cholesky factor of the inverse."""
    second = x.T.astype(np.float64) @ x / len(x)
    second += 0.01 * np.trace(second) / len(second) * np.eye(len(second))
    order = np.argsort(np.diagonal(second))[::-1]
    spread = np.linalg.cholesky(np.linalg.inv(second[np.ix_(order, order)])).T
    left, made = weights[order].astype(np.float64), np.empty(len(weights))
    for place in range(len(left)):
        made[place] = np.clip(np.rint(left[place] / scale), -127, 127) * scale
        left[place:] -= (left[place] - made[place]) / spread[place, place] * spread[place, place:]
    return made[np.argsort(order)]


@pytest.mark.parametrize("seed", range(20))
def test_rounding_equals_gptq_as_published(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups, n, k = int(rng.integers(1, 4)), int(rng.integers(1, 5)), int(rng.integers(1, 12))
    x = correlated(rng, groups, 200, k)
    weights = rng.normal(0, 1, (groups, n, k)).astype(np.float32)
    scales = rng.uniform(0.05, 0.3, (groups, n))
    made = rounded(moments(x), weights, scales)
    for group in range(groups):
        for output in range(n):
            want = gptq(x[group], weights[group, output], float(scales[group, output]))
            np.testing.assert_allclose(made[group, output], want, rtol=1e-6)


@pytest.mark.parametrize("seed", range(10))
def test_rounding_with_feedback_loses_less_than_rounding_alone(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = correlated(rng, 1, 500, 24)
    weights = rng.normal(0, 1, (1, 8, 24)).astype(np.float32)
    scales = np.full((1, 8), 0.1)
    alone = np.rint(weights / 0.1) * 0.1

    def error(made: Array) -> float:
        return float(np.square(x @ (made - weights).swapaxes(1, 2)).sum())

    assert error(rounded(moments(x), weights, scales)) < 0.7 * error(alone)


@pytest.mark.parametrize("k", [9, 64])
def test_the_best_of_several_scales_loses_less_than_the_first(k: int) -> None:
    rng = np.random.default_rng(k)
    x = correlated(rng, 2, 500, k)
    weights = rng.normal(0, 1, (2, 8, k)).astype(np.float32)
    scales = np.abs(weights).max(axis=2) / 127
    least = scales * rng.choice([0.5, 1.02], scales.shape)
    second = moments(x)
    made, found = rounded_at_best(second, weights, scales, least, 17)

    def error(values: Array) -> Array:
        return np.square(x @ (values - weights).swapaxes(1, 2)).sum(axis=1)

    assert (found >= least * (1 - 1e-6)).all()
    codes = made / found[..., None]
    np.testing.assert_allclose(codes, np.rint(codes), atol=1e-4)
    first = error(rounded(second, weights, np.maximum(scales, least)))
    assert (error(made) <= first * 1.001).all()
    assert error(made).sum() < 0.9 * first.sum()


def test_fitted_weights_make_up_for_inputs_that_are_off() -> None:
    rng = np.random.default_rng(0)
    x = correlated(rng, 2, 500, 6)
    weights = rng.normal(0, 1, (2, 3, 6)).astype(np.float32)
    seen = x * np.float32(0.9)
    wanted = x @ weights.swapaxes(1, 2)
    before = np.square(wanted - seen @ weights.swapaxes(1, 2)).sum()
    better = fitted(moments(seen), seen, wanted, weights)
    assert np.square(wanted - seen @ better.swapaxes(1, 2)).sum() < 0.1 * before


@pytest.mark.parametrize("seed", range(4))
def test_reconstructed_weights_lie_on_the_grid_that_they_carry(seed: int) -> None:
    graph = prepare(float_graph(seed), inputs(float_graph(seed), 8, seed)).graph
    cases = inputs(graph, 8, seed)
    made = reconstruct(graph, cases, choose_grids(graph, calibrate(graph, cases), minmax))
    grids = [t for t in made.tensors.values() if t.quant is not None and t.is_constant]
    assert len(grids) == 4
    for tensor in grids:
        assert tensor.quant is not None
        shape = [1] * len(tensor.shape)
        shape[tensor.quant.axis or 0] = -1
        codes = tensor.values / np.array(tensor.quant.scales, np.float32).reshape(shape)
        np.testing.assert_allclose(codes, np.rint(codes), atol=1e-4)
        assert np.abs(codes).max() < 127.5


def test_reconstruction_beats_rounding_each_weight_alone() -> None:
    gains = []
    for seed in range(6):
        graph = float_graph(seed)
        cases, test = inputs(graph, 32, seed), inputs(graph, 16, seed + 50)
        figures = [
            compare_layers(graph, quantize(graph, cases, rounding=rounding), test)[-1].sqnr_db
            for rounding in ("reconstruct", "nearest")
        ]
        gains.append(figures[0] - figures[1])
    assert np.mean(gains) > 0
