from __future__ import annotations

import numpy as np
import pytest

from tests.quantization.networks import float_graph, inputs
from tests.quantization.test_reconstruct import correlated
from toolchain.ir import Array
from toolchain.quantization import quantize
from toolchain.quantization.adaround import learned
from toolchain.quantization.least_squares import damped, moments, rounded

torch = pytest.importorskip("torch")


def losses(second: Array, made: Array, weights: Array) -> Array:
    """Return what every output loses, shape (groups, n)."""
    error = (made - weights).astype(np.float64)
    return np.einsum("gnk,gkl,gnl->gn", error, damped(second), error)


@pytest.mark.parametrize(("k", "levels"), [(9, 7), (48, 7), (48, 127)])
def test_learning_never_loses_more_than_it_started_with(k: int, levels: int) -> None:
    rng = np.random.default_rng(k)
    second = moments(correlated(rng, 2, 600, k))
    weights = rng.normal(0, 1, (2, 8, k)).astype(np.float32)
    scales = np.abs(weights).max(axis=2) / levels
    start = rounded(second, weights, scales, levels)
    made = learned(second, weights, start, scales, levels)
    codes = made / scales[..., None]
    np.testing.assert_allclose(codes, np.rint(codes), atol=1e-4)
    assert np.abs(codes).max() < levels + 0.5
    assert np.abs(made - start).max() < 1.01 * scales.max()  # a step up or down at most
    before, after = losses(second, start, weights), losses(second, made, weights)
    assert (after <= before * (1 + 1e-5)).all()


def test_learning_betters_long_sums() -> None:
    rng = np.random.default_rng(0)
    second = moments(correlated(rng, 1, 2000, 200))
    weights = rng.normal(0, 1, (1, 16, 200)).astype(np.float32)
    scales = np.abs(weights).max(axis=2) / 7
    start = rounded(second, weights, scales, 7)
    made = learned(second, weights, start, scales, 7)
    assert losses(second, made, weights).sum() < 0.97 * losses(second, start, weights).sum()


def test_few_weights_are_rounded_as_the_best_of_all_choices() -> None:
    """Against a search of every rounding, up or down, of eight weights."""
    rng = np.random.default_rng(3)
    second = moments(correlated(rng, 1, 600, 8))
    weights = rng.normal(0, 1, (1, 6, 8)).astype(np.float32)
    scales = np.abs(weights).max(axis=2) / 7
    choices = np.stack(np.meshgrid(*[[0, 1]] * 8), -1).reshape(-1, 1, 1, 8)
    below = np.floor(weights / scales[..., None])
    every = (below + choices).clip(-7, 7) * scales[..., None]
    least = np.min([losses(second, made, weights) for made in every], axis=0)
    nearest = np.rint(weights / scales[..., None]).clip(-7, 7) * scales[..., None]
    start = np.asarray(nearest, np.float32)
    made = losses(second, learned(second, weights, start, scales, 7), weights)
    assert np.mean(made < 1.05 * least) >= 0.5
    assert made.sum() < losses(second, nearest, weights).sum()


def test_quantising_with_learned_rounding_changes_weights_alone() -> None:
    graph = float_graph(2)
    cases = inputs(graph, 16, 2)
    plain, made = (
        quantize(graph, cases, int4=["*"], rounding=one) for one in ("reconstruct", "adaround")
    )
    changed = [
        name
        for name, tensor in plain.tensors.items()
        if tensor.is_constant and not np.array_equal(tensor.values, made.tensors[name].values)
    ]
    assert any(name.endswith("weights") for name in changed)
    assert all(name.endswith(("weights", "bias")) for name in changed)
    assert [x.quant for x in plain.tensors.values() if not x.is_constant] == [
        x.quant for x in made.tensors.values() if not x.is_constant
    ]
