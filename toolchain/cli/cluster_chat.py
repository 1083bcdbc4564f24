"""``tessera cluster chat``: talk to a model in the terminal."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from toolchain.cli.cluster_model import (
    ModelOptions,
    guesses_option,
    model_options,
    sampling_options,
)
from toolchain.cli.report import Reporter, common_options

if TYPE_CHECKING:
    from runtimes.cluster.chat import Conversation
    from runtimes.cluster.generate import Event, Finish
    from runtimes.cluster.sampling import Sampling

_HELP = "/reset forgets the conversation, /quit or Ctrl-D ends, Ctrl-C stops an answer"


@click.command()
@model_options
@sampling_options
@guesses_option
@click.option("--system", default="", help="What the model is told first.")
@click.option("--prompt", help="Ask this, print the answer, end.")
@click.option("--raw", is_flag=True, help="With --prompt: let the model continue the text itself.")
@click.option("--max-tokens", type=click.IntRange(1), help="Of an answer.")
@click.option("--stop", multiple=True, help="A string that ends an answer; may be repeated.")
@common_options
def command(
    reporter: Reporter,
    *,
    model: ModelOptions,
    sampling: Sampling,
    guesses: int,
    system: str,
    prompt: str | None,
    raw: bool,
    max_tokens: int | None,
    stop: tuple[str, ...],
) -> int:
    """Talk to the model in SHARDS; answers appear as they are made.

    All ranks run in this process unless --worker or --devices names others.
    """
    from runtimes.cluster.chat import ChatOptions, Conversation, complete

    _check(reporter, prompt, raw)
    options = ChatOptions(system, sampling, max_tokens, stop, guesses)
    with model.open(reporter) as opened:
        conversation = Conversation(opened, options)
        if prompt is None:
            return _converse(reporter, conversation)
        events = complete(opened, prompt, options) if raw else conversation.ask(prompt)
        text, finish, seconds = _show(reporter, events)
    return reporter.result({"text": text, "seconds": seconds, **vars(finish)})


def _check(reporter: Reporter, prompt: str | None, raw: bool) -> None:
    if prompt is None and (raw or reporter.json):
        raise click.UsageError("--raw and --json need --prompt TEXT")


def _converse(reporter: Reporter, conversation: Conversation) -> int:
    """Read lines until the end of input."""
    reporter.note(_HELP)
    for line in _lines():
        match line.strip():
            case "":
                continue
            case "/quit":
                return 0
            case "/reset":
                conversation.reset()
                reporter.note("forgotten")
            case text:
                _turn(reporter, conversation, text)
    return 0


def _turn(reporter: Reporter, conversation: Conversation, text: str) -> None:
    from toolchain.errors import UsageError

    dropped = conversation.dropped
    with _interruptible() as interrupted:
        try:
            _, finish, seconds = _show(reporter, conversation.ask(text, lambda: bool(interrupted)))
        except UsageError as error:  # this message is too long, a shorter one is not
            reporter.failure(error)
            return
    if conversation.dropped > dropped:
        reporter.note("(the oldest messages no longer fit the context and are forgotten)")
    if sys.stderr.isatty():
        speed = finish.generated_tokens / max(seconds, 1e-9)
        reporter.note(f"({finish.generated_tokens} tokens, {speed:.1f}/s, {finish.reason})")


def _show(reporter: Reporter, events: Iterator[Event]) -> tuple[str, Finish, float]:
    """Print an answer as it is made; returns it, its end, and seconds of generation."""
    from runtimes.cluster.generate import Finish, Piece, Progress

    text, began, finish = "", time.perf_counter(), None
    shows_progress = sys.stderr.isatty() and not (reporter.quiet or reporter.json)
    for event in events:
        match event:
            case Progress(done, total) if shows_progress:
                click.echo(f"\rreading {done}/{total}\r", nl=False, err=True)
            case Piece(_, piece):
                if not text:
                    began = time.perf_counter()
                text += piece
                if not reporter.json:
                    click.echo(piece, nl=False)
                    sys.stdout.flush()
            case Finish():
                finish = event
    reporter.say()
    if finish is None:
        raise RuntimeError("a generation without an end")
    return text, finish, time.perf_counter() - began


def _lines() -> Iterator[str]:
    """Lines that a person types, or those of a pipe."""
    if not sys.stdin.isatty():
        yield from (line.decode("utf-8", "replace") for line in sys.stdin.buffer)
        return
    import readline  # noqa: F401 - gives input() its line editing

    while True:
        try:
            yield input("> ")
        except EOFError:
            click.echo()
            return


@contextmanager
def _interruptible() -> Iterator[list[int]]:
    """While this lasts, Ctrl-C fills the list; a second one ends the program."""
    pressed: list[int] = []

    def note(number: int, frame: object) -> None:
        del frame
        if pressed:
            raise KeyboardInterrupt
        pressed.append(number)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)
