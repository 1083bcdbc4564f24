"""TFLite Micro's reference kernels as an independent truth, reached through exported files."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.ops.harness import CASES, random_values
from toolchain.exporters.tflite import export_tflite
from toolchain.ir import Array, Graph, run

_ARENA = 1 << 20


def run_micro(graph: Graph, inputs: list[Array]) -> list[Array]:
    """Return what TFLite Micro makes of the exported graph."""
    runtime = pytest.importorskip("tflite_micro.python.tflite_micro.runtime")
    interpreter = runtime.Interpreter.from_bytes(export_tflite(graph), arena_size=_ARENA)
    for index, value in enumerate(inputs):
        interpreter.set_input(value, index)
    interpreter.invoke()
    return [interpreter.get_output(index) for index in range(len(graph.outputs))]


def assert_reference_equals_micro(
    make: Callable[[np.random.Generator], Graph],
    expressible: Callable[[Graph], bool] = lambda _: True,
    cases: int = CASES,
) -> None:
    """Run ``cases`` random graphs in the interpreter and in TFLite Micro; every byte is equal.

    Args:
        make: returns a random graph.
        expressible: whether the file format and TFLite Micro know such a graph; others are drawn
            again.
        cases: number of graphs.
    """
    compared, seed = 0, 0
    while compared < cases:
        rng = np.random.default_rng(seed)
        graph, seed = make(rng), seed + 1
        if not expressible(graph):
            continue
        inputs = [random_values(tensor, rng) for tensor in graph.input_tensors]
        for ours, theirs in zip(run(graph, inputs), run_micro(graph, inputs), strict=True):
            np.testing.assert_array_equal(
                ours.reshape(theirs.shape), theirs, err_msg=f"seed {seed - 1}: {graph.nodes}"
            )
        compared += 1
