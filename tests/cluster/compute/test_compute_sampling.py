import ctypes
import functools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_compute_kernels import arm_program, run_arm_program

from runtimes.cluster.array_sampler import ArraySampler, kept, weigh
from runtimes.cluster.arrays import rows_of
from runtimes.cluster.native import cpu
from runtimes.cluster.native.library import SamplingStruct, load
from runtimes.cluster.sampling import KernelSampler, Sampling, open_sampler
from toolchain.errors import UsageError

LOGITS = np.log(np.array([0.1, 0.4, 0.2, 0.3], np.float32))
VARIANTS = [variant.name for variant in cpu.supported()]

samplings = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 1e-310, 0.1, 0.7, 1.0, 5.0, 100.0]),
    top_k=st.sampled_from([0, 1, 2, 7, 40, 1 << 24]),
    top_p=st.sampled_from([0.0, 0.1, 0.5, 0.95, 1 - 2**-53, 1.0]),
    min_p=st.sampled_from([0.0, 1e-300, 0.05, 0.5, 1.0]),
    seed=st.integers(0, (1 << 63) - 1),
)


def logits_of(seed, spread, *, odd=False):
    """Random logits, some equal; odd ones with zeros of both signs, infinities and no numbers."""
    random = np.random.default_rng(seed)
    logits = (random.standard_normal(random.integers(1, 400)) * spread).astype(np.float32)
    if seed % 3 == 0:
        logits = np.round(logits)
    if odd:
        places = random.integers(0, len(logits), 4)
        logits[places] = random.choice([np.nan, np.inf, -np.inf, -0.0, 0.0], 4)
    return logits


@functools.cache
def kernel_sampler(variant):
    return KernelSampler(load(variant))


def choose(sampler, logits, sampling, position=0):
    return sampler.choose(rows_of(logits[None]), sampling, position)


def slow_filters(logits, sampling):
    """The filters as their papers define them, on the sorted vocabulary."""
    ids = sorted(range(len(logits)), key=lambda i: (-logits[i], i))
    ids = ids[: sampling.top_k or None]
    chances = np.exp(logits[ids].astype(np.float64))
    chances /= chances.sum()
    passed, mass = set(), 0.0
    for token, chance in zip(ids, chances, strict=True):
        enough = mass >= sampling.top_p and sampling.top_p < 1
        if passed and (enough or chance < sampling.min_p * chances[0]):
            break
        passed.add(token)
        mass += chance
    return passed


def test_filters_keep_what_their_papers_say():
    def ids(**options):
        return set(np.flatnonzero(kept(LOGITS, Sampling(temperature=1.0, **options))))

    assert ids() == {0, 1, 2, 3}
    assert ids(top_k=2) == {1, 3}
    assert ids(top_p=0.5) == {1, 3}
    assert ids(top_p=0.0) == {1}
    assert ids(min_p=0.45) == {1, 2, 3}
    assert ids(top_k=3, top_p=0.9, min_p=0.7) == {1, 3}


@given(
    seed=st.integers(0, 10000),
    spread=st.sampled_from([0.1, 1.0, 5.0]),
    top_k=st.integers(0, 60),
    top_p=st.sampled_from([0.1, 0.5, 0.9, 0.999, 1.0]),
    min_p=st.sampled_from([0.0, 0.01, 0.3]),
)
def test_filters_equal_slow_ones(seed, spread, top_k, top_p, min_p):
    logits = (np.random.default_rng(seed).standard_normal(50) * spread).astype(np.float32)
    sampling = Sampling(temperature=0.7, top_k=top_k, top_p=top_p, min_p=min_p)
    assert set(np.flatnonzero(kept(logits, sampling))) == slow_filters(logits, sampling)


@given(st.floats(-60, 0))
def test_weights_are_powers_of_e(below):
    [weight] = weigh(np.array([below]))
    assert abs(weight - math.exp(below) * 2**40) < 2


@pytest.mark.parametrize("variant", VARIANTS)
@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 1 << 20),
    spread=st.sampled_from([0.0, 0.1, 1.0, 5.0, 50.0]),
    odd=st.booleans(),
    sampling=samplings,
    position=st.integers(0, 1 << 24),
)
def test_kernels_choose_the_tokens_of_the_definition(
    variant, seed, spread, odd, sampling, position
):
    kernels, definition = kernel_sampler(variant), ArraySampler()
    logits = logits_of(seed, spread, odd=odd)
    expected = choose(definition, logits, sampling, position)
    assert choose(kernels, logits, sampling, position) == expected
    rows = rows_of(np.stack([logits, logits[::-1], -logits]))
    assert kernels.likeliest(rows) == definition.likeliest(rows)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_large_vocabulary_is_no_different(variant):
    logits = np.random.default_rng(5).standard_normal(151_936).astype(np.float32)
    kernels, definition = kernel_sampler(variant), ArraySampler()
    for options in ({}, {"top_p": 0.9}, {"top_k": 1000, "top_p": 0.9, "min_p": 0.1}):
        for position in range(3):
            sampling = Sampling(temperature=1.0, seed=2, **options)
            expected = choose(definition, logits, sampling, position)
            assert choose(kernels, logits, sampling, position) == expected


@pytest.mark.slow
def test_neon_chooses_the_tokens_of_the_definition(tmp_path):
    program = arm_program("neon", "run_sample.c", tmp_path)
    for seed in range(12):
        logits = logits_of(seed, 3.0, odd=seed > 8)
        sampling = Sampling(0.9, top_k=seed % 5 * 20, top_p=0.9, min_p=seed % 2 * 0.05, seed=seed)
        how = SamplingStruct(0.9, 0.9, sampling.floor, seed, sampling.top_k)
        header = bytes(how) + np.array([len(logits), 64], np.int32).tobytes()
        tokens = np.frombuffer(run_arm_program(program, header + logits.tobytes()), np.int32)
        expected = [choose(ArraySampler(), logits, sampling, position) for position in range(64)]
        assert tokens.tolist() == expected


@pytest.mark.parametrize("kernels", [True, False])
def test_frequencies_follow_the_probabilities(kernels):
    counts, sampler = np.zeros(4), open_sampler(kernels=kernels)
    for position in range(4000):
        counts[choose(sampler, LOGITS, Sampling(temperature=0.5, seed=3), position)] += 1
    squares = np.array([0.1, 0.4, 0.2, 0.3]) ** 2  # temperature 1/2 squares probabilities
    np.testing.assert_allclose(counts / 4000, squares / squares.sum(), atol=0.03)


def test_greedy_takes_the_first_of_equals():
    assert choose(open_sampler(), np.array([1, 2, 2], np.float32), Sampling()) == 1


def test_without_a_compiler_numpy_samples(tmp_path, monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    monkeypatch.setenv("TESSERA_CACHE", str(tmp_path))
    assert isinstance(open_sampler.__wrapped__(), ArraySampler)


def test_the_struct_is_that_of_the_header():
    assert ctypes.sizeof(SamplingStruct) == 40  # three doubles, a seed, a count and its padding


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"top_p": 1.5},
        {"top_k": -1},
        {"seed": -1},
    ],
)
def test_values_out_of_range_are_refused(options):
    with pytest.raises(UsageError, match=next(iter(options))):
        Sampling(**options)
