"""Options that say how a model file becomes a graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from toolchain.cli.report import Reporter

if TYPE_CHECKING:
    from toolchain.ir import Graph


@dataclass(frozen=True)
class Reading:
    """How a model file becomes a graph.

    Attributes:
        int8_ports: float inputs and outputs become int8: the caller (de)quantises.
        stream: a network over a window in time takes each frame once
            (`toolchain.streaming.stream_over_time`).
        channels_last: maps come in channels last where the network would bring them into that
            order itself (`toolchain.passes.channels_last_inputs`).
        columns: images come column by column: turned (`toolchain.passes.turned_inputs`).
    """

    int8_ports: bool = False
    stream: bool = False
    channels_last: bool = False
    columns: bool = False

    def apply(self, graph: Graph, reporter: Reporter) -> Graph:
        """Return the imported ``graph``, simplified, as it was asked for."""
        from toolchain.passes import (
            channels_last_inputs,
            drop_float_edges,
            simplify,
            turned_inputs,
        )

        graph = simplify(drop_float_edges(graph) if self.int8_ports else graph)
        graph = simplify(channels_last_inputs(graph)) if self.channels_last else graph
        graph = simplify(turned_inputs(graph)) if self.columns else graph
        return _streamed(graph, reporter) if self.stream else graph


AS_IT_IS = Reading()


def reading_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb the options of `Reading`, which it receives as ``reading``."""

    @wraps(function)
    def with_reading(*args: Any, **given: Any) -> Any:
        chosen = {field.name: given.pop(field.name) for field in fields(Reading)}
        return function(*args, reading=Reading(**chosen), **given)

    wrapped: Callable[..., Any] = with_reading
    for option in (
        click.option(
            "--columns",
            is_flag=True,
            help="Take images column by column, turned: less memory in streams of maps wider than "
            "high.",
        ),
        click.option(
            "--channels-last",
            is_flag=True,
            help="Take maps channels last that the network would transpose or reshape itself.",
        ),
        click.option("--stream", is_flag=True, help="Take each frame of a window in time once."),
        click.option(
            "--int8-ports", is_flag=True, help="Leave float inputs and outputs to the caller."
        ),
    ):
        wrapped = option(wrapped)
    return wrapped


def _streamed(graph: Graph, reporter: Reporter) -> Graph:
    from toolchain.passes import simplify
    from toolchain.streaming import stream_over_time

    streamed = stream_over_time(graph)
    step = simplify(streamed.step)
    states = sum(state.initial.nbytes for state in step.states)
    reporter.say(
        f"stream: {streamed.hop} new frames per call, {graph.macs / step.macs:.1f}x fewer MACs "
        f"than a window at a time, {states:,} bytes of state, {streamed.warm_up} calls to warm up"
    )
    reporter.note(
        f"outputs equal the network without padding in time on {streamed.frames} frames, bit by bit"
    )
    return step
