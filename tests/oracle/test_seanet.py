"""Layers of a speech network with int16 activations, with inputs and goldens of their makers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from codegen.emit import emit
from runtimes.host.library import build_host
from tests.data import shared_data
from toolchain.importers import import_model
from toolchain.ir import Array, Tensor, run
from toolchain.passes import simplify
from toolchain.plan import plan_model

LAYERS = [
    *("add0", "add1", "add9", "conv0", "conv3", "conv5", "conv11", "conv13", "conv20"),
    *("leaky_relu0", "leaky_relu10", "pad0", "pad11", "strided_slice0", "strided_slice20"),
    *("transpose_conv0", "transpose_conv4"),
]


def values(path: Path, tensor: Tensor) -> Array:
    return (
        np.loadtxt(path, delimiter=",", dtype=np.int64)
        .astype(tensor.dtype.numpy)
        .reshape(tensor.shape)
    )


@pytest.mark.parametrize("name", LAYERS)
def test_layers_equal_their_goldens(name: str, tmp_path: Path) -> None:
    folder = (shared_data() or Path()) / "models" / "tflm_seanet_int16"
    if not (folder / f"{name}.tflite").is_file():
        pytest.skip("real models are not here")
    graph = simplify(import_model(folder / f"{name}.tflite"), check=True)
    inputs = [
        values(folder / f"{name}_input{index}_{tensor.dtype.value}.csv", tensor)
        for index, tensor in enumerate(graph.input_tensors)
    ]
    golden = values(folder / f"{name}_golden_int16.csv", graph.output_tensors[0])
    np.testing.assert_array_equal(run(graph, inputs)[0], golden)
    compiled = build_host(graph, emit(graph, plan_model(graph)), tmp_path)
    np.testing.assert_array_equal(compiled.run(inputs)[0], golden)
