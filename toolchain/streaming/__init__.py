"""From a network over a window in time to one that takes each frame once (continual inference).

A window that slides by a few frames is almost the window before it. The step network keeps what
it has computed in delay lines (`toolchain.ops.Shift`, states of the graph) and computes only what
new frames change. Where the window network pads in time, the step network sees the real
neighbours instead, so it equals, bit by bit, the same network without padding in time on as many
frames as that needs: `Streamed.window`, made beside it. Causal networks and others that do not pad
in time keep their meaning entirely.

Source: L. Hedegaard and A. Iosifidis, "Continual 3D convolutional neural networks for real-time
processing of videos" (arXiv 2106.00050); the buffers follow O. Rybakov et al., "Streaming keyword
spotting on mobile devices" (arXiv 2005.06720).
"""

from __future__ import annotations

from dataclasses import dataclass

from toolchain.ir import Graph, verify
from toolchain.streaming.axis import TimeAxis, time_axis
from toolchain.streaming.step import step_network
from toolchain.streaming.window import window_network

__all__ = ["Streamed", "TimeAxis", "stream_over_time", "time_axis"]


@dataclass(frozen=True)
class Streamed:
    """A network that takes each frame once.

    Attributes:
        step: the network of one call: its input holds the newest ``hop`` frames.
        window: the network without padding in time, over all frames that an output depends on.
        hop: new frames per call, the product of the strides in time.
        frames: frames that ``window`` sees.
        lag: frames that have come after those ``window`` sees; 0 unless branches wait.
        warm_up: calls until no output depends on the initial states any more.
    """

    step: Graph
    window: Graph
    hop: int
    frames: int
    lag: int
    warm_up: int


def stream_over_time(graph: Graph) -> Streamed:
    """Turn a network over a window in time into one that takes each frame once.

    Args:
        graph: a verified, simplified graph with one input, of batch 1, whose axis 1 is time (or a
            flat input that is reshaped to that first).

    Raises:
        ModelError: E215 if there is no such axis. What cannot be computed frame by frame is
            computed from all frames of the window, as before.
    """
    axis = time_axis(graph)
    step, age = step_network(axis)
    window, (first, end) = window_network(axis)
    warm_up = -(-(age - first) // axis.hop)
    return Streamed(verify(step), verify(window), axis.hop, end - first, age - end, warm_up)
