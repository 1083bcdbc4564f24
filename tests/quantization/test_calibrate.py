"""What calibration refuses of its samples."""

from __future__ import annotations

import numpy as np
import pytest

from tests.formats.onnx_graphs import model
from tests.quantization.networks import node
from toolchain.errors import UsageError
from toolchain.importers.onnx import import_onnx
from toolchain.quantization import quantize


def test_values_that_have_no_squares_are_refused_by_name() -> None:
    nodes = [node("Gemm", ["x", "w"], ["y"], transB=1)]
    graph = import_onnx(model(nodes, {"x": [1, 4]}, {"w": np.ones((3, 4), np.float32)}), "net")
    with pytest.raises(UsageError, match=r"case 1 makes values up to 3e\+25") as caught:
        quantize(graph, [[np.full((1, 4), value, np.float32)] for value in (1, 3e25)])
    assert caught.value.code == "E115"
    assert caught.value.where == 'tensor "x"'
