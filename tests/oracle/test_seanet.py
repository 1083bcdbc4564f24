"""Layers of a speech network with int16 activations, with inputs and goldens of their makers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from boards import load_board
from codegen.emit import emit
from tests.data import shared_data
from tests.ops.targets import build_targets
from tests.ops.unity import unite
from toolchain.importers import import_model
from toolchain.ir import Array, Graph, Tensor, run
from toolchain.passes import simplify
from toolchain.plan import plan_model

LAYERS = [
    *("add0", "add1", "add9", "conv0", "conv3", "conv5", "conv11", "conv13", "conv20"),
    *("leaky_relu0", "leaky_relu10", "pad0", "pad11", "strided_slice0", "strided_slice20"),
    *("transpose_conv0", "transpose_conv4"),
]
BOARD = "emulator_m4_16m"


def values(path: Path, tensor: Tensor) -> Array:
    return (
        np.loadtxt(path, delimiter=",", dtype=np.int64)
        .astype(tensor.dtype.numpy)
        .reshape(tensor.shape)
    )


def layer(name: str) -> tuple[Graph, list[Array], Array]:
    """Return a layer with its inputs and its golden output."""
    folder = (shared_data() or Path()) / "models" / "tflm_seanet_int16"
    if not (folder / f"{name}.tflite").is_file():
        pytest.skip("real models are not here")
    graph = simplify(import_model(folder / f"{name}.tflite"), check=True)
    inputs = [
        values(folder / f"{name}_input{index}_{tensor.dtype.value}.csv", tensor)
        for index, tensor in enumerate(graph.input_tensors)
    ]
    return graph, inputs, values(folder / f"{name}_golden_int16.csv", graph.output_tensors[0])


@pytest.mark.parametrize("board_id", [None, BOARD])
def test_layers_equal_their_goldens(board_id: str | None, tmp_path: Path) -> None:
    """Portable kernels run here as well, those of the DSP extension on the emulated core only."""
    layers = {f"layer_{name}": layer(name) for name in LAYERS}
    board = load_board(board_id) if board_id else None
    plans = {name: plan_model(graph, board) for name, (graph, *_) in layers.items()}
    files = unite({name: emit(layers[name][0], plan, name) for name, plan in plans.items()})
    targets = build_targets(files, tmp_path, BOARD, host=board is None)
    for name, (graph, inputs, golden) in layers.items():
        np.testing.assert_array_equal(run(graph, inputs)[0], golden, name)
        for target in targets:
            target.start(name)
            (got,) = target.run(name, graph, inputs)
            np.testing.assert_array_equal(got, golden, f"{name} on {target.name}")
