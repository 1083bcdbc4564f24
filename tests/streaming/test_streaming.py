"""Steps equal windows: not one byte differs once all frames are real."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from codegen.emit import emit
from runtimes.host import build_host
from tests.graphs import Builder
from tests.ops.harness import random_values
from toolchain import ops
from toolchain.errors import ModelError
from toolchain.ir import Array, DType, Graph, Session, Tensor, run
from toolchain.ops.spatial import Pads
from toolchain.passes import simplify
from toolchain.plan import check_plan, plan_model
from toolchain.streaming import Streamed, stream_over_time

CASES = 120


def _convolved(b: Builder, x: Tensor) -> Tensor:
    """A convolution in time, padded at random, at times strided or dilated."""
    stride = int(b.rng.choice((1, 1, 1, 2, 3)))
    dilation = 1 if stride > 1 else int(b.rng.integers(1, 3))
    kernel = int(b.rng.integers(1, 5)), int(b.rng.integers(1, 3))
    pads = Pads(*(int(p) for p in b.rng.integers(0, 3, 2)), kernel[1] - 1, 0)
    if b.rng.integers(2):
        op = ops.DepthwiseConv2D((stride, 1), (dilation, 1), pads)
        return b.depthwise_conv2d(x, kernel=kernel, op=op)
    return b.conv2d(x, 4, kernel, ops.Conv2D((stride, 1), (dilation, 1), pads))


def _pooled(b: Builder, x: Tensor) -> Tensor:
    kind = ops.MaxPool2D if b.rng.integers(2) else ops.AveragePool2D
    return b.alike(kind((2, 1), (int(b.rng.integers(1, 3)), 1)), x)


def _residual(b: Builder, x: Tensor) -> Tensor:
    """Two branches that look ahead by different amounts, joined."""
    size = 2 * int(b.rng.integers(0, 3)) + 1
    op = ops.DepthwiseConv2D(pads=Pads(size // 2, size // 2))
    y = b.depthwise_conv2d(x, kernel=(size, 1), op=op)
    return b.rescaled(ops.Add(), x, y) if y.shape == x.shape else y


def _padded(b: Builder, x: Tensor) -> Tensor:
    return b.alike(ops.Pad((0, 1, 0, 0), (0, 2, 1, 0)), x)


def sliding_window_network(rng: np.random.Generator) -> Graph:
    """Return a random network over a window in time, with one or two heads that gather."""
    b = Builder(rng, "window")
    frames = int(rng.integers(16, 30))
    flat = bool(rng.integers(2))
    x = b.input((1, frames * 6) if flat else (1, frames, 3, 2))
    if flat:
        x = b.alike(ops.Reshape((1, frames, 3, 2)), x)
    middle = x
    for _ in range(int(rng.integers(1, 5))):
        step = (_convolved, _convolved, _pooled, _residual, _padded)[int(rng.integers(5))]
        if x.shape[1] > 8:
            middle, x = x, step(b, x)
    heads = [_head(b, x)]
    if rng.integers(2):
        heads.append(_head(b, middle))
    return b.graph(*heads)


def _head(b: Builder, x: Tensor) -> Tensor:
    if b.rng.integers(2):
        x = b.alike(ops.AveragePool2D(x.shape[1:3], (1, 1)), x)
    return b.fully_connected(b.alike(ops.Reshape((1, x.size)), x), 5)


def assert_steps_equal_windows(streamed: Streamed, rng: np.random.Generator) -> int:
    """Compare some steps behind the warm-up; return how many different outputs were seen."""
    session, seen = Session(simplify(streamed.step, check=True)), set()
    (frames,) = streamed.step.input_tensors
    hop, calls = streamed.hop, streamed.warm_up + 5
    data = rng.integers(-128, 128, (1, hop * calls, *frames.shape[2:])).astype(np.int8)
    for call in range(calls):
        outputs = session.run([np.ascontiguousarray(data[:, call * hop : (call + 1) * hop])])
        if call + 1 < streamed.warm_up:
            continue
        end = (call + 1) * hop - streamed.lag
        window: Array = np.ascontiguousarray(data[:, end - streamed.frames : end])
        for got, want in zip(outputs, run(streamed.window, [window]), strict=True):
            np.testing.assert_array_equal(got, want)
            seen.add(got.tobytes())
    return len(seen)


def test_every_step_equals_a_window() -> None:
    seen = 0
    for seed in range(CASES):
        rng = np.random.default_rng(seed)
        graph = sliding_window_network(rng)
        seen += assert_steps_equal_windows(stream_over_time(graph), rng)
    assert seen > 3 * CASES


def test_a_network_without_padding_in_time_keeps_its_meaning() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        b = Builder(rng)
        x = b.input((1, 19, 4, 1))
        y = b.conv2d(x, 3, (4, 2), ops.Conv2D((2, 1), pads=Pads(left=1)))
        y = b.depthwise_conv2d(y, kernel=(3, 1), op=ops.DepthwiseConv2D())
        graph = b.graph(b.fully_connected(b.alike(ops.Reshape((1, y.size)), y), 3))
        streamed = stream_over_time(graph)
        window = [random_values(graph.input_tensors[0], rng)]
        used = streamed.frames
        assert graph.input_tensors[0].shape[1] - used in (0, 1)  # the stride may leave one over
        np.testing.assert_array_equal(
            run(streamed.window, [window[0][:, :used]]), run(graph, window)
        )


def test_the_c_of_steps_remembers(tmp_path: Path) -> None:
    for seed in range(8):
        rng = np.random.default_rng(seed)
        graph = simplify(stream_over_time(sliding_window_network(rng)).step)
        plan = check_plan(graph, plan_model(graph))
        model = build_host(graph, emit(graph, plan), tmp_path / str(seed))
        session = Session(graph)
        for _ in range(12):
            case = [random_values(graph.input_tensors[0], rng)]
            for got, want in zip(model.run(case), session.run(case), strict=True):
                np.testing.assert_array_equal(got, want)


def test_what_mixes_frames_is_computed_from_the_whole_window() -> None:
    b = Builder(np.random.default_rng(0))
    x = b.input((1, 16, 3, 2))
    slower = b.alike(ops.MaxPool2D((2, 1), (2, 1)), x)
    again = b.alike(ops.ResizeNearest((16, 3)), slower)
    y = b.rescaled(
        ops.Add(),
        x,
        again,
    )
    y = b.rescaled(ops.Add(), y, b.constant((1, 16, 1, 1)))
    streamed = stream_over_time(b.graph(b.conv2d(y, 2)))
    assert assert_steps_equal_windows(streamed, b.rng) > 3


def test_a_single_frame_is_no_window() -> None:
    b = Builder(np.random.default_rng(0))
    x = b.input((1, 8), DType.INT8)
    with pytest.raises(ModelError, match="no window of frames"):
        stream_over_time(b.graph(b.fully_connected(b.alike(ops.Reshape((1, 1, 8)), x), 3)))
