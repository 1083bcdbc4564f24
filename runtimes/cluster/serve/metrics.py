"""What a server has done, in the text format of Prometheus (exposition format 0.0.4)."""

from __future__ import annotations

from collections.abc import Iterator

from runtimes.cluster.scheduler import Scheduler
from runtimes.cluster.usage import peak_rss

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def render_metrics(scheduler: Scheduler, losses: int) -> str:
    """Write all metrics.

    Args:
        scheduler: counts.
        losses: workers lost and replaced.
    """
    return "\n".join([*_lines(scheduler, losses), ""])


def _lines(scheduler: Scheduler, losses: int) -> Iterator[str]:
    totals = scheduler.totals
    yield from _head("requests_total", "counter", "Answers by how they ended.")
    for outcome, count in totals.finished.items():
        yield f'tessera_requests_total{{outcome="{outcome}"}} {count}'
    for name, value, text in (
        ("prompt_tokens_total", totals.prompt_tokens, "Tokens of finished prompts."),
        ("cached_tokens_total", totals.cached_tokens, "Prompt tokens that were still cached."),
        ("generated_tokens_total", totals.generated_tokens, "Tokens of answers."),
        ("drafted_tokens_total", totals.drafted_tokens, "Guessed tokens."),
        ("accepted_tokens_total", totals.accepted_tokens, "Guessed tokens that came true."),
        ("passes_total", totals.passes, "Forward passes."),
        ("busy_seconds_total", totals.busy_seconds, "Time in forward passes."),
        ("workers_lost_total", losses, "Workers lost and replaced."),
    ):
        yield from _head(name, "counter", text)
        yield f"tessera_{name} {value:.9g}"
    yield from _head("first_token_seconds", "summary", "Wait for the first token of an answer.")
    yield f"tessera_first_token_seconds_sum {totals.first_token_seconds:.9g}"
    yield f"tessera_first_token_seconds_count {totals.first_tokens}"
    for name, value, text in (
        ("requests_running", scheduler.running, "Requests that have a slot."),
        ("requests_waiting", scheduler.waiting, "Requests that wait for a slot."),
        ("peak_rss_bytes", peak_rss(), "Largest resident set of this process."),
    ):
        yield from _head(name, "gauge", text)
        yield f"tessera_{name} {value}"


def _head(name: str, kind: str, text: str) -> tuple[str, str]:
    return f"# HELP tessera_{name} {text}", f"# TYPE tessera_{name} {kind}"
