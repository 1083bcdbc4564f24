"""4-bit weights: in C, where they stay packed, and in TFLite Micro."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.ops.four_bits import Maker, narrowed
from tests.ops.harness import CASES, assert_c_equals_reference, random_values
from tests.ops.test_conv2d import random_conv
from tests.ops.test_depthwise_conv2d import random_depthwise
from tests.ops.test_fully_connected import random_fully_connected
from tests.ops.test_transpose_conv import random_transpose_conv
from tests.oracle.runtimes import Micro, RefusedError
from toolchain.errors import ModelError
from toolchain.exporters.tflite import export_tflite
from toolchain.importers.tflite import import_tflite
from toolchain.ir import DType, run
from toolchain.ops.nibbles import pack_nibbles, unpack_nibbles

MAKERS: dict[str, Maker] = {
    "conv2d": partial(narrowed, random_conv),
    "depthwise_conv2d": partial(narrowed, random_depthwise),
    "fully_connected": partial(narrowed, random_fully_connected),
}


@pytest.mark.parametrize("name", MAKERS)
def test_c_equals_reference(name: str, tmp_path: Path) -> None:
    assert_c_equals_reference(MAKERS[name], tmp_path)


@pytest.mark.parametrize("name", MAKERS)
def test_the_reference_equals_tflite_micro(name: str) -> None:
    compared = 0
    for seed in range(CASES):
        rng = np.random.default_rng(seed)
        graph = MAKERS[name](rng)
        inputs = [random_values(tensor, rng) for tensor in graph.input_tensors]
        try:
            (want,) = Micro(export_tflite(graph)).run(inputs, 1)
        except RefusedError:
            continue  # some runtimes take 4-bit weights without groups or dilation only
        compared += 1
        message = f"seed {seed}: {graph.nodes}"
        np.testing.assert_array_equal(run(graph, inputs)[0].reshape(want.shape), want, message)
    assert compared >= CASES // 2


@pytest.mark.parametrize("name", MAKERS)
def test_files_keep_them_packed(name: str) -> None:
    graph = MAKERS[name](np.random.default_rng(3))
    found = import_tflite(export_tflite(graph), "again")
    (weights,) = (t for t in found.tensors.values() if t.dtype is DType.INT4)
    np.testing.assert_array_equal(weights.values, graph.tensors["w"].values)
    assert weights.nbytes == (weights.size + 1) // 2


def test_tables_in_flash_hold_two_weights_in_a_byte() -> None:
    for seed in range(CASES):
        graph = MAKERS["fully_connected"](np.random.default_rng(seed))
        lowered = graph.nodes[0].op.lower(graph.operands(graph.nodes[0]))
        units, depth = graph.tensors["w"].shape
        assert lowered.tables["weights"].nbytes == units * ((depth + 1) // 2)


@pytest.mark.parametrize("depth", [1, 2, 7, 8])
def test_packing_keeps_all_values(depth: int) -> None:
    filters = np.random.default_rng(depth).integers(-8, 8, (5, depth)).astype(np.int8)
    np.testing.assert_array_equal(unpack_nibbles(pack_nibbles(filters), depth), filters)


def test_transposed_convolutions_are_refused() -> None:
    with pytest.raises(ModelError, match="weights must be int8"):
        narrowed(random_transpose_conv, np.random.default_rng(0))
