import numpy as np
import pytest
from generation_models import (
    SMALL,
    VOCABULARY,
    finish_of,
    golden_prompts,
    needs_stories,
    small_model,
    stories_shards,
    text_of,
    tokens_of,
)
from hypothesis import given
from hypothesis import strategies as st

from runtimes.cluster.array_sampler import ArraySampler
from runtimes.cluster.arrays import rows_of
from runtimes.cluster.forward import LocalModel
from runtimes.cluster.generate import Generation, Progress, Request, generate
from runtimes.cluster.native_engine import NativeEngine
from runtimes.cluster.sampling import Sampling
from runtimes.cluster.shard import ShardFile
from runtimes.cluster.stops import StopFilter
from runtimes.cluster.tokenizer import open_tokenizer
from toolchain.errors import UsageError

PROMPT = (1, 259, 260, 261, 262, 259)


class Script:
    """A model that says what it is told to, whatever it reads."""

    config, slots = SMALL, 1

    def __init__(self, says, start, capacity=256):
        self.capacity = capacity
        self._says, self._start = says, start
        self.rows = []

    def forward(self, _slot, tokens, position, *, rows=None):
        rows = len(tokens) if rows is None else rows
        self.rows.append(len(tokens))
        logits = np.zeros((rows, SMALL.vocab), np.float32)
        for i in range(rows):
            at = position + len(tokens) - rows + i + 1 - self._start
            logits[i, self._says[at] if at < len(self._says) else 2] = 1
        return rows_of(logits)

    def truncate(self, slot, length): ...
    def close(self): ...


def say(text, *, stop=(), guesses=0, **options):
    """Let a model say a text byte by byte: every border of the text is a border of tokens."""
    ids = [3 + byte for byte in text.encode()]
    model = Script([*ids, 2], len(PROMPT))
    request = Request(PROMPT, stop=stop, guesses=guesses, continues=True, **options)
    return list(generate(model, VOCABULARY, request))


def plain(model, prompt, sampling, count):
    """The definition: one token after another, the whole sequence anew each time."""
    tokens = list(prompt)
    for _ in range(count):
        logits = model.forward(0, tokens, 0, rows=1)
        tokens.append(ArraySampler().choose(logits, sampling, len(tokens)))
        if tokens[-1] in VOCABULARY.eos:
            break
    return tokens[len(prompt) :]


@pytest.mark.parametrize("chunk", [1, 2, 5, 128])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_chunks_do_not_change_what_is_said(chunk, temperature):
    model, sampling = small_model(), Sampling(temperature, seed=3)
    generation = Generation(model, VOCABULARY, Request(PROMPT, sampling, max_tokens=20, guesses=0))
    events = []
    while generation.finish is None:
        events += generation.step(chunk)
    expected = [t for t in plain(model, PROMPT, sampling, 20) if t not in VOCABULARY.eos]
    assert tokens_of(events) == expected
    progress = [event.done for event in events if isinstance(event, Progress)]
    assert progress == list(range(chunk, len(PROMPT), chunk))
    assert finish_of(events).generated_tokens == len(expected)


def test_the_model_ends_its_answer():
    events = say("fine")
    assert text_of(events) == "fine"
    assert finish_of(events).reason == "stop"
    assert finish_of(events).generated_tokens == 4


def test_max_tokens_end_an_answer():
    events = say("abcdef", max_tokens=3)
    assert text_of(events) == "abc"
    assert finish_of(events).reason == "length"


def test_a_character_that_is_cut_off_is_replaced():
    assert text_of(say("a\u20ac", max_tokens=3)) == "a\ufffd"


def test_a_full_context_ends_an_answer():
    model = Script([3 + 65] * 100, len(PROMPT), capacity=10)
    events = list(generate(model, VOCABULARY, Request(PROMPT, guesses=0)))
    assert finish_of(events).reason == "length"
    assert len(tokens_of(events)) == 10 - len(PROMPT)


@pytest.mark.parametrize("length", [10, 11, 500])
def test_a_prompt_longer_than_the_context_is_one_clear_error(length):
    model = Script([], 0, capacity=10)
    with pytest.raises(UsageError, match="no room is left") as caught:
        Generation(model, VOCABULARY, Request((1,) * length))
    assert caught.value.code == "E130"
    assert caught.value.exit_code == 2
    assert caught.value.numbers == {"prompt": length, "context": 10}
    assert not model.rows


@pytest.mark.parametrize(
    "options",
    [{"prompt": ()}, {"max_tokens": 0}, {"stop": ("a", "")}, {"guesses": -1}, {"guesses": 65}],
)
def test_senseless_requests_are_refused(options):
    with pytest.raises(UsageError) as caught:
        Request(**{"prompt": PROMPT, **options})
    assert caught.value.code == "E131"


def test_a_cancelled_generation_makes_no_further_pass():
    model = Script([3 + 65] * 100, len(PROMPT))
    generation = Generation(model, VOCABULARY, Request(PROMPT, guesses=0))
    generation.step()
    (finish,) = generation.cancel()
    assert finish.reason == "cancel"
    assert finish.generated_tokens == 1
    assert generation.step() == ()
    assert generation.cancel() == ()
    assert len(model.rows) == 1


@given(
    st.text("ab\u20ac ", max_size=30),
    st.lists(st.text("ab\u20ac ", min_size=1, max_size=5), max_size=3),
)
def test_text_ends_before_the_first_stop_string(text, stops):
    events = say(text, stop=tuple(stops))
    ends = [at for stop in stops if (at := text.find(stop)) >= 0]
    # the stop string that is complete first wins; of those, the one that begins first
    shortest = min(
        (text[:n] for n in range(len(text) + 1) if any(s in text[:n] for s in stops)),
        key=len,
        default=None,
    )
    expected = text
    if shortest is not None:
        expected = shortest[: min(at for s in stops if (at := shortest.find(s)) >= 0)]
    assert text_of(events) == expected
    assert bool(ends) == (shortest is not None)


@given(st.text("ab", max_size=12), st.lists(st.text("ab", min_size=1, max_size=4), max_size=3))
def test_nothing_of_a_stop_string_is_shown_early(text, stops):
    guard, shown = StopFilter(stops), ""
    for i, letter in enumerate(text):
        piece, stopped = guard.push(letter)
        shown += piece
        seen = text[: i + 1]
        assert seen.startswith(shown)
        if stopped:
            assert any(stop in seen for stop in stops)
            return
        assert not any(seen[len(shown) :] == stop for stop in stops)
        held = seen[len(shown) :]
        assert not held or any(stop.startswith(held) for stop in stops)
    assert shown + guard.finish() == text


def stories_model(folder):
    return LocalModel(
        [NativeEngine(ShardFile(folder.shard(share.rank))) for share in folder.shares]
    )


@needs_stories
@pytest.mark.parametrize("weights", [(1.0,), (3.0, 1.0), (1.0, 1.0, 1.0)])
@pytest.mark.parametrize("guesses", [0, 8])
def test_golden_stories(tmp_path, weights, guesses):
    folder = stories_shards(tmp_path, weights=weights)
    model, tokenizer = stories_model(folder), open_tokenizer(tmp_path)
    for golden in golden_prompts().values():
        request = Request(
            tuple(golden["prompt_ids"]),
            max_tokens=len(golden["greedy_ids"]),
            continues=True,
            guesses=guesses,
        )
        events = list(generate(model, tokenizer, request))
        assert tokens_of(events) == golden["greedy_ids"]
        assert tokenizer.decode(golden["prompt_ids"]) + text_of(events) == golden["text"]
        assert finish_of(events).accepted <= finish_of(events).drafted
    model.close()
