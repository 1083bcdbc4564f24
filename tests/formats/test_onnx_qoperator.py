from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.formats.onnx_graphs import helper, model, onnx, truth
from tests.quantization.networks import float_cnn, float_graph, inputs
from toolchain.errors import ModelError
from toolchain.importers import import_model
from toolchain.importers.onnx import import_onnx
from toolchain.ir import Array, run
from toolchain.quantization.report import integer_case, real_values
from toolchain.reference import run_float

node = helper.make_node


def as_integers(data: bytes, cases: list[list[Array]], folder: Path, **options: Any) -> bytes:
    """Return what onnxruntime's quantiser makes of a file, with operators on integers."""
    quantization = pytest.importorskip("onnxruntime.quantization")

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self.cases: Iterator[Mapping[str, Array]] = iter([{"x": case[0]} for case in cases])

        def get_next(self) -> Mapping[str, Array] | None:
            return next(self.cases, None)

    source, target = folder / "float.onnx", folder / "integer.onnx"
    source.write_bytes(data)
    quantization.quantize_static(
        str(source), str(target), Reader(), quant_format=quantization.QuantFormat.QOperator,
        **options,
    )  # fmt: skip
    return target.read_bytes()


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_operators_on_integers_compute_what_onnxruntime_computes(
    tmp_path: Path, per_channel: bool, signed: bool
) -> None:
    from onnxruntime.quantization import QuantType

    graph = float_graph(3)
    kind = QuantType.QInt8 if signed else QuantType.QUInt8
    data = as_integers(
        float_cnn(3), inputs(graph, 16, 0), tmp_path, per_channel=per_channel,
        weight_type=QuantType.QInt8, activation_type=kind,
    )  # fmt: skip
    kinds = {one.op_type for one in onnx.load_from_string(data).graph.node}
    assert {"QLinearConv", "QLinearAdd", "QLinearConcat", "QGemm"} <= kinds
    made = import_model(tmp_path / "integer.onnx")
    output = made.output_tensors[0]
    for case in inputs(graph, 8, 1):
        (want,) = truth(data, case)
        (got,) = run_float(import_onnx(data, "net"), case)
        assert np.abs(got - want).max() <= 3.01 * output.scale
        (codes,) = run(made, integer_case(made, case))
        assert np.abs(real_values(output, codes) - want).max() <= 4.01 * output.scale


def test_a_scale_that_is_computed_is_refused_by_name() -> None:
    zero = np.zeros((), np.uint8)
    constants = {
        "s": np.float32(0.1), "z": zero, "w": np.ones((2, 3, 1, 1), np.int8),
        "wz": np.zeros((), np.int8), "b": np.zeros(2, np.int32),
    }  # fmt: skip
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        node("ReduceMean", ["x"], ["m"], keepdims=0),
        node("QLinearConv", ["q", "m", "z", "w", "s", "wz", "s", "z", "b"], ["c"]),
        node("DequantizeLinear", ["c", "s", "z"], ["y"]),
    ]
    with pytest.raises(ModelError, match=r'QLinearConv at #2 "c"') as caught:
        import_onnx(model(nodes, {"x": [1, 3, 4, 4]}, constants), "net")
    assert caught.value.code == "E210"


@pytest.mark.parametrize("size", [1, 3, 5, 9])
def test_local_response_normalisation_equals_onnxruntime(size: int) -> None:
    data = model([node("LRN", ["x"], ["y"], size=size, alpha=0.3, beta=0.6, bias=1.5)],
                 {"x": [1, 7, 5, 4]})  # fmt: skip
    x = np.random.default_rng(size).normal(0, 3, (1, 7, 5, 4)).astype(np.float32)
    (want,) = truth(data, [x])
    np.testing.assert_allclose(run_float(import_onnx(data, "net"), [x])[0], want, rtol=1e-4)
