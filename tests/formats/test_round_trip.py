"""Graphs written as .tflite and read back mean the same."""

from __future__ import annotations

import numpy as np
import pytest

from tests.ops.harness import random_values
from tests.ops.test_conv2d import random_conv
from toolchain.exporters.tflite import export_tflite
from toolchain.importers.tflite import import_tflite
from toolchain.ir import run


@pytest.mark.parametrize("seed", range(20))
def test_a_written_graph_reads_back_with_the_same_meaning(seed: int) -> None:
    rng = np.random.default_rng(seed)
    graph = random_conv(rng)
    again = import_tflite(export_tflite(graph), graph.name)
    inputs = [random_values(tensor, rng) for tensor in graph.input_tensors]
    for expected, got in zip(run(graph, inputs), run(again, inputs), strict=True):
        np.testing.assert_array_equal(got, expected)
