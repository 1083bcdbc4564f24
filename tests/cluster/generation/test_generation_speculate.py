"""Guesses make passes fewer and never change a token."""

import pytest
from generation_models import (
    SMALL,
    VOCABULARY,
    finish_of,
    small_model,
    text_of,
    tokens_of,
    write_small_shards,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from runtimes.cluster.forward import LocalModel
from runtimes.cluster.generate import Experience, Generation, Request, generate
from runtimes.cluster.native_engine import EngineOptions, NativeEngine
from runtimes.cluster.sampling import Sampling
from runtimes.cluster.shard import ShardFile
from runtimes.cluster.speculate import Draft, PassCost, Speculator


class Counting:
    """A model that counts its passes."""

    def __init__(self, model):
        self._model = model
        self.passes = 0

    def __getattr__(self, name):
        return getattr(self._model, name)

    def forward(self, *arguments, **options):
        self.passes += 1
        return self._model.forward(*arguments, **options)


def run(model, prompt, sampling, guesses, **options):
    request = Request(
        tuple(prompt), sampling, max_tokens=60, ignore_end=True, guesses=guesses, **options
    )
    return list(generate(model, VOCABULARY, request))


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 100),
    temperature=st.sampled_from([0.0, 0.3, 1.0]),
    guesses=st.integers(1, 12),
    prompt=st.lists(st.integers(3, SMALL.vocab - 1), min_size=1, max_size=12),
)
def test_tokens_and_text_are_those_of_plain_decoding(seed, temperature, guesses, prompt):
    model, sampling = small_model(seed), Sampling(temperature, top_k=8, seed=seed)
    expected = run(model, prompt, sampling, 0)
    guessed = run(model, prompt, sampling, guesses)
    assert tokens_of(guessed) == tokens_of(expected)
    assert text_of(guessed) == text_of(expected)


@pytest.fixture(scope="module")
def native(tmp_path_factory):
    folder = write_small_shards(tmp_path_factory.mktemp("shards"), bits=4)
    model = LocalModel([NativeEngine(ShardFile(folder.shard(0)), EngineOptions(kv="int8"))])
    yield model
    model.close()


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_quantised_kernels_verify_guesses_to_the_same_bits(native, temperature):
    drafted = 0
    for seed in range(6):
        sampling = Sampling(temperature, top_k=3, seed=seed)
        expected = run(native, [1, 5 + seed], sampling, 0)
        guessed = run(native, [1, 5 + seed], sampling, 8)
        assert tokens_of(guessed) == tokens_of(expected)
        drafted += finish_of(guessed).drafted
    assert drafted > 0


class FreeWidth(PassCost):
    """Wide passes that cost nothing more, whatever this machine is doing."""

    def observe(self, rows, seconds): ...

    def relative(self, _rows):
        return 1.0


def finish_with(model, request, experience):
    generation = Generation(model, VOCABULARY, request, experience=experience)
    while generation.finish is None:
        generation.step()
    return generation.finish


def test_a_repeating_text_takes_fewer_passes():
    model = Counting(small_model(3))
    request = Request((1, *[259, 260] * 3), max_tokens=60, ignore_end=True)
    finish = finish_with(model, request, Experience(cost=FreeWidth()))
    assert finish.generated_tokens == 60
    assert finish.accepted > 20
    assert model.passes == 60 - finish.accepted


def test_guesses_stop_at_the_limit_and_at_stop_strings():
    model = small_model(3)
    whole = text_of(run(model, [1, 259, 260], Sampling(), 0))
    stop = whole[len(whole) // 2 :][:2]
    expected = text_of(run(model, [1, 259, 260], Sampling(), 0, stop=(stop,)))
    assert text_of(run(model, [1, 259, 260], Sampling(), 8, stop=(stop,))) == expected
    for limit in range(1, 12):
        request = Request((1, 259), max_tokens=limit, ignore_end=True)
        assert len(tokens_of(generate(model, VOCABULARY, request))) == limit


def test_what_one_generation_learned_helps_the_next():
    model, experience = small_model(5), Experience(cost=FreeWidth())
    request = Request((1, 265), max_tokens=2, ignore_end=True)
    first, second = (finish_with(model, request, experience) for _ in range(2))
    assert first.drafted == 0
    assert second.accepted == 1


@given(st.lists(st.integers(0, 3), min_size=2, max_size=40), st.integers(1, 9))
def test_lookup_copies_what_followed_the_longest_repetition(tokens, limit):
    speculator = Speculator(most=16)
    speculator.extend(tokens)
    source, guess = speculator._guess(limit)
    repeats = [
        (length, end)
        for length in (4, 3, 2)
        for end in range(len(tokens) - 1, length - 1, -1)
        if length <= len(tokens) and tokens[end - length : end] == tokens[-length:]
    ]
    if not repeats:
        assert (source, guess) == (0, [])
        return
    length, end = repeats[0]
    follows = tokens[end:]
    while len(follows) < limit:
        follows = [*follows, *tokens[end:]]
    assert (source, guess) == (length, follows[:limit])


def test_recycled_successors_are_chained():
    speculator = Speculator(most=4)
    speculator.recycle([1, 3, 2], [2, 5, 3])
    assert speculator.successors == {1: 2, 2: 3, 3: 5}
    speculator.extend([1])
    assert speculator._guess(3) == (0, [2, 3, 5])
    assert speculator._guess(2) == (0, [2, 3])


def test_bad_guessers_fall_silent_and_are_tried_again():
    speculator = Speculator(most=8, cost=PassCost(first=1.0, more=0.5))
    speculator.extend([1, 2] * 4)
    for _ in range(30):
        draft = speculator.draft(8)
        speculator.learn(draft, 0, 1.0 + 0.5 * len(draft.tokens))
        if not draft.tokens:
            break
    assert speculator.draft(8).tokens == ()
    assert any(speculator.draft(8).tokens for _ in range(200))


def test_cheap_wide_passes_make_drafts_longer():
    lengths = []
    for more in (0.0, 0.1, 0.4, 0.9):
        speculator = Speculator(most=8, cost=PassCost(first=1.0, more=more))
        speculator.extend([1, 2] * 4)
        lengths.append(len(speculator.draft(8).tokens))
    assert lengths == sorted(lengths, reverse=True)
    assert (lengths[0], lengths[-1]) == (8, 0)


def test_the_cost_of_wider_passes_is_measured():
    cost = PassCost()
    for _ in range(100):
        cost.observe(1, 2.0)
        cost.observe(5, 2.0 + 4 * 0.6)
    assert cost.relative(1) == 1
    assert cost.relative(3) == pytest.approx(1.6, rel=0.01)


def test_without_guesses_nothing_is_learned():
    speculator = Speculator(most=0)
    speculator.extend([1, 2, 1, 2, 1])
    speculator.recycle([1], [0])
    assert speculator.draft(8) == Draft()
    assert speculator.successors == {}
