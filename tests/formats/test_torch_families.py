"""Whole CNN families from PyTorch: by both routes the same network, and C that computes it."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import toolchain as ts
from tests.formats.test_torch import families, randomised
from tests.ops.on_host import run_on_host
from toolchain.importers import import_float
from toolchain.ir import run
from toolchain.passes import channels_last_inputs, simplify
from toolchain.quantization import quantize

torch = pytest.importorskip("torch")


@pytest.mark.slow
@pytest.mark.parametrize("name", families())
def test_a_family_is_quantised_and_compiled_without_a_transpose(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    torch.manual_seed(0)
    module, size = randomised(families()[name][0]).eval(), 32
    x = torch.randn(1, 3, size, size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (x,), str(tmp_path / "net.onnx"), dynamo=False)
    graph, other = ts.import_torch(module, x), import_float(tmp_path / "net.onnx")
    kinds = [Counter(node.op.name for node in one.nodes) for one in (graph, other)]
    assert kinds[0] == kinds[1]
    (a,), (b,) = (ts.run_float(one, [x.numpy()]) for one in (graph, other))
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    cases = [[torch.randn(1, 3, size, size).numpy()] for _ in range(4)]
    final = simplify(channels_last_inputs(quantize(graph, cases, rounding="nearest")))
    assert "transpose" not in {node.op.name for node in final.nodes}
    rng = np.random.default_rng(0)
    values = rng.integers(-128, 128, final.input_tensors[0].shape, dtype=np.int8)
    (made,) = run_on_host(final, [values], tmp_path / "c")
    np.testing.assert_array_equal(made, run(final, [values])[0])
