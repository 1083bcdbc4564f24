"""Conversations, from the class and from the command line."""

import dataclasses
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

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
    write_small_shards,
)
from hypothesis import given
from hypothesis import strategies as st

from runtimes.cluster.chat import ChatOptions, Conversation
from runtimes.cluster.launch import OpenModel
from runtimes.cluster.prefix import PrefixCache, common_prefix
from runtimes.cluster.sampling import Sampling
from toolchain.cli.main import main
from toolchain.errors import UsageError

ROOT = Path(__file__).parents[3]


def opened(seed=0, **options):
    return OpenModel("small", small_model(seed, **options), VOCABULARY)


def converse(conversation, lines):
    return [list(conversation.ask(line)) for line in lines]


def test_a_cached_conversation_says_what_a_fresh_one_says():
    options = ChatOptions("the cat", Sampling(0.8, seed=4), max_tokens=12)
    lines = ["a mat", "on the mat", "sat"]
    conversation = Conversation(opened(), options)
    turns = converse(conversation, lines)
    for i, turn in enumerate(turns):
        fresh = Conversation(opened(), options)
        fresh.messages = conversation.messages[: 1 + 2 * i]
        assert text_of(list(fresh.ask(lines[i]))) == text_of(turn)
    assert finish_of(turns[0]).cached_tokens == 0
    assert finish_of(turns[1]).cached_tokens >= finish_of(turns[0]).prompt_tokens - 1
    assert [m["role"] for m in conversation.messages] == ["system", *["user", "assistant"] * 3]


def test_old_turns_go_when_the_context_is_full():
    conversation = Conversation(opened(capacity=120), ChatOptions("the", max_tokens=8))
    converse(conversation, ["the cat sat on a mat"] * 6)
    assert conversation.dropped > 0
    assert conversation.dropped % 2 == 0
    assert conversation.messages[0] == {"role": "system", "content": "the"}
    conversation.reset()
    assert conversation.messages == [{"role": "system", "content": "the"}]


def test_a_message_longer_than_the_context_leaves_the_conversation_as_it_was():
    conversation = Conversation(opened(capacity=60), ChatOptions(max_tokens=4))
    converse(conversation, ["a"])
    before = list(conversation.messages)
    with pytest.raises(UsageError, match="no room is left"):
        list(conversation.ask("x" * 100))
    assert conversation.messages == before[len(before) - len(conversation.messages) :]
    assert finish_of(list(conversation.ask("a"))).generated_tokens > 0


def test_an_answer_that_is_stopped_stays_in_the_history():
    conversation = Conversation(opened(), ChatOptions())
    presses = iter([False] * 4 + [True] * 100)
    events = list(conversation.ask("the cat", lambda: next(presses)))
    assert finish_of(events).reason == "cancel"
    assert conversation.messages[-1] == {
        "role": "assistant",
        "content": text_of(events).strip(),
    }


@given(st.lists(st.integers(0, 2), max_size=8), st.lists(st.integers(0, 2), max_size=8))
def test_common_prefix_is_shared_and_longest(first, second):
    n = common_prefix(first, second)
    assert first[:n] == second[:n]
    assert first[n : n + 1] != second[n : n + 1] or n == min(len(first), len(second))


def test_slots_go_to_the_best_match_then_to_the_least_recently_used():
    cache = PrefixCache(2)
    first, second = cache.acquire([1, 2, 3]), cache.acquire([7, 8])
    assert {first.slot, second.slot} == {0, 1}
    assert cache.acquire([1]) is None
    cache.release(first.slot, [1, 2, 3, 4, 5, 6])
    cache.release(second.slot, [7, 8, 9])
    again = cache.acquire([1, 2, 3, 4, 9])
    assert (again.slot, again.cached) == (first.slot, 4)
    cache.release(again.slot, [1, 2, 3, 4, 9, 9])
    stranger = cache.acquire([1, 5])  # would cost the conversation in `first` more than it saves
    assert (stranger.slot, stranger.cached) == (second.slot, 0)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return write_small_shards(tmp_path_factory.mktemp("chat"), weights=(1.0,)).path


def run(capsys, *arguments):
    code = main(["cluster", "chat", *map(str, arguments)])
    return code, capsys.readouterr()


def test_one_question_on_the_command_line(shards, capsys):
    ask = (shards, "--prompt", "the cat", "-t", "0", "--max-tokens", "9")
    code, plain = run(capsys, *ask, "--guesses", "0")
    assert code == 0
    code, guessed = run(capsys, *ask, "--json")
    result = json.loads(guessed.out)["result"]
    assert code == 0
    assert plain.out == result["text"] + "\n"
    assert result["generated_tokens"] <= 9


@needs_stories
def test_the_golden_story_on_the_command_line(tmp_path, capsys):
    stories_shards(tmp_path, weights=(1.0, 2.0))
    golden = next(iter(golden_prompts().values()))
    arguments = ("--raw", "-t", "0", "--kv", "f32", "--max-tokens", len(golden["greedy_ids"]))
    prompt = "Once upon a time"
    assert golden["text"].startswith(prompt)
    code, output = run(capsys, tmp_path, "--prompt", prompt, *arguments)
    assert code == 0
    assert prompt + output.out == golden["text"] + "\n"


@pytest.mark.parametrize(
    ("arguments", "code", "what"),
    [
        (["--prompt", "x" * 300], 2, "E130"),
        (["--prompt", "x", "-t", "-1"], 2, "E119"),
        (["--raw"], 2, "E101"),
        (["--prompt", "x", "-w", "nowhere"], 2, "E133"),
        (["--prompt", "x", "-w", "127.0.0.1:1", "--devices", "x.toml"], 2, "E133"),
        (["--prompt", "x", "--stop", ""], 2, "E131"),
    ],
)
def test_mistakes_are_said_in_one_line(shards, capsys, arguments, code, what):
    actual, output = run(capsys, shards, *arguments)
    assert actual == code
    assert what in output.err
    assert "Traceback" not in output.err


def test_a_folder_that_is_no_model(tmp_path, capsys):
    code, output = run(capsys, tmp_path, "--prompt", "x")
    assert code == 2
    assert "tessera cluster convert" in output.err


def test_ctrl_c_ends_the_answer_and_not_the_program(tmp_path):
    """Through a real terminal, with a real signal."""
    endless = dataclasses.replace(SMALL, context=200000)
    shards = write_small_shards(tmp_path, eos=(), config=endless).path  # never ends itself
    control, terminal = pty.openpty()
    command = [sys.executable, "-m", "toolchain", "cluster", "chat", str(shards)]
    command += ["-t", "1.5", "--guesses", "0", "--context", "200000"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "dumb"}
    process = subprocess.Popen(
        command, stdin=terminal, stdout=terminal, stderr=terminal, env=environment, cwd=ROOT
    )
    os.close(terminal)
    try:
        screen = wait_for(control, "> ")
        os.write(control, b"the cat\n")
        screen = wait_for(control, "the cat\r\n", at_least=200)
        process.send_signal(signal.SIGINT)
        screen = wait_for(control, "cancel")
        os.write(control, b"/reset\n")
        wait_for(control, "forgotten")
        os.write(control, b"/quit\n")
        assert process.wait(20) == 0
        assert "Traceback" not in screen
    finally:
        process.kill()
        process.wait()
        os.close(control)


def wait_for(control, text, *, at_least=0):
    """Read a terminal until it shows a text and so many bytes after it."""
    seen, deadline = "", time.monotonic() + 20
    while text not in seen or len(seen) - seen.index(text) < at_least:
        assert select.select([control], [], [], deadline - time.monotonic())[0], seen
        seen += os.read(control, 4096).decode("utf-8", "replace")
    return seen
