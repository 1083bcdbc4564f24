import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtimes.cluster.sampling import Sampling, candidates, log_probability, sample
from toolchain.errors import UsageError

LOGITS = np.log(np.array([0.1, 0.4, 0.2, 0.3], np.float32))


def kept(**options):
    return candidates(LOGITS, Sampling(temperature=1.0, **options))[0].tolist()


def test_filters_keep_what_their_papers_say():
    assert kept() == [1, 3, 2, 0]
    assert kept(top_k=2) == [1, 3]
    assert kept(top_p=0.5) == [1, 3]
    assert kept(top_p=0.0) == [1]
    assert kept(min_p=0.45) == [1, 3, 2]
    assert kept(top_k=3, top_p=0.9, min_p=0.7) == [1, 3]


def slow_candidates(logits, sampling):
    """The filters as their papers define them, on the sorted vocabulary."""
    ids = sorted(range(len(logits)), key=lambda i: (-logits[i], i))
    ids = ids[: sampling.top_k or None]
    chances = np.exp(logits[ids].astype(np.float64))
    chances /= chances.sum()
    kept, mass = [], 0.0
    for token, chance in zip(ids, chances, strict=True):
        enough = mass >= sampling.top_p and sampling.top_p < 1
        if kept and (enough or chance < sampling.min_p * chances[0]):
            break
        kept.append(token)
        mass += chance
    return kept


@given(
    seed=st.integers(0, 10000),
    spread=st.sampled_from([0.1, 1.0, 5.0]),
    top_k=st.integers(0, 60),
    top_p=st.sampled_from([0.1, 0.5, 0.9, 0.999, 1.0]),
    min_p=st.sampled_from([0.0, 0.01, 0.3]),
)
def test_fast_filters_equal_slow_ones(seed, spread, top_k, top_p, min_p):
    logits = (np.random.default_rng(seed).standard_normal(50) * spread).astype(np.float32)
    sampling = Sampling(temperature=0.7, top_k=top_k, top_p=top_p, min_p=min_p)
    ids, chances = candidates(logits, sampling)
    assert ids.tolist() == slow_candidates(logits, sampling)
    np.testing.assert_allclose(chances.sum(), 1.0)


def test_frequencies_follow_the_probabilities():
    counts = np.zeros(4)
    for position in range(4000):
        counts[sample(LOGITS, Sampling(temperature=0.5, seed=3), position)] += 1
    squares = np.array([0.1, 0.4, 0.2, 0.3]) ** 2  # temperature 1/2 squares probabilities
    np.testing.assert_allclose(counts / 4000, squares / squares.sum(), atol=0.03)


@given(st.integers(0, 1 << 40), st.integers(0, 1 << 20))
def test_a_replayed_position_gives_the_same_token(seed, position):
    sampling = Sampling(temperature=1.0, seed=seed)
    assert sample(LOGITS, sampling, position) == sample(LOGITS.copy(), sampling, position)


def test_greedy_takes_the_first_of_equals():
    assert sample(np.array([1, 2, 2], np.float32), Sampling(), 0) == 1


def test_log_probabilities_are_those_of_the_softmax():
    np.testing.assert_allclose(
        [np.exp(log_probability(LOGITS, i)) for i in range(4)], [0.1, 0.4, 0.2, 0.3], rtol=1e-6
    )


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
