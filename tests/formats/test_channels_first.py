"""Networks that were trained channels first leave no transpose in the C."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.test_quantize import call
from tests.data import shared_data
from tests.formats.onnx_graphs import helper, model
from tests.quantization.networks import float_cnn, float_graph, inputs
from toolchain.cli.pipeline import load_graph
from toolchain.cli.reading import Reading
from toolchain.cli.report import Reporter
from toolchain.exporters.tflite import export_tflite
from toolchain.importers import import_float
from toolchain.importers.onnx import import_onnx
from toolchain.ir import Graph
from toolchain.passes import channels_last_inputs, simplify
from toolchain.quantization import preview, quantize

FOLDER = (shared_data() or Path("absent")) / "models"
ONNX = [
    "misc/deepC_asl_model",
    "mlonmcu/micro_kws_m_static_fp32",
    "mlonmcu/micro_kws_m_static_qdq",
    "mlperf_tiny_kai_jiang/resnet",
    "onnx_light/light_squeezenet",
    "ort_examples/mnist",
    "ultraface/version-RFB-320",
    "ultraface/version-RFB-640",
]


def transposes(graph: Graph) -> int:
    return sum(node.op.name == "transpose" for node in graph.nodes)


def test_a_channels_first_cnn_is_compiled_without_transposes() -> None:
    assert transposes(simplify(channels_last_inputs(preview(float_graph(0))))) == 0


def test_an_int8_file_with_channels_first_is_read_channels_last_on_demand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = float_graph(1)
    path = tmp_path / "net.tflite"
    path.write_bytes(export_tflite(simplify(quantize(graph, inputs(graph, 4, 0)))))
    kept = load_graph(path, Reporter(quiet=True))
    assert (transposes(kept), kept.input_tensors[0].shape) == (1, (1, 3, 16, 12))
    last = load_graph(path, Reporter(quiet=True), Reading(channels_last=True))
    assert (transposes(last), last.input_tensors[0].shape) == (0, (1, 16, 12, 3))
    code, _ = call(
        capsys, "compile", path, "--channels-last", "--board", "nucleo_f446re", "-o",
        tmp_path / "build",
    )  # fmt: skip
    assert code == 0
    assert "transpose" not in (tmp_path / "build/plan.json").read_text()
    code, envelope = call(capsys, "test", tmp_path / "build", "--random", "3")
    assert (code, envelope["result"]["targets"][0]["mismatched_bytes"]) == (0, 0)


def test_inspect_lists_operators_macs_memory_and_every_problem_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(float_cnn(0))
    code, envelope = call(capsys, "inspect", path)
    result = envelope["result"]
    assert code == 0
    assert result["macs"] == sum(layer["macs"] for layer in result["layers"]) > 0
    assert result["ram_lower_bound_bytes"] > 0
    nodes = [
        helper.make_node("NonZero", ["x"], ["a"]),
        helper.make_node("Relu", ["x"], ["b"]),
        helper.make_node("Det", ["b"], ["y"]),
    ]
    path.write_bytes(model(nodes, {"x": [1, 3, 4, 4]}))
    code, envelope = call(capsys, "inspect", path)
    assert (code, envelope["error"]["code"]) == (2, "E210")
    assert all(kind in envelope["error"]["what"] for kind in ("NonZero at #0", "Det at #2"))


@pytest.mark.skipif(not FOLDER.is_dir(), reason="no shared data")
@pytest.mark.parametrize("name", ONNX)
def test_real_networks_leave_no_transpose(name: str) -> None:
    graph = import_float(FOLDER / "onnx" / f"{name}.onnx")
    assert transposes(simplify(channels_last_inputs(preview(graph)))) == 0


@pytest.mark.skipif(not FOLDER.is_dir(), reason="no shared data")
def test_the_channels_first_mobilenet_has_its_one_transpose_in_the_input() -> None:
    path = FOLDER / "tflm/mobilenet_v2_quantized_1x3x224x224.tflite"
    graph = load_graph(path, Reporter(quiet=True), Reading(channels_last=True))
    assert (transposes(graph), graph.input_tensors[0].shape) == (0, (1, 224, 224, 3))


def test_onnx_without_a_map_stays_as_it_is() -> None:
    data = model([helper.make_node("Relu", ["x"], ["y"])], {"x": [1, 3, 4, 4]})
    graph = import_onnx(data, "net")
    assert channels_last_inputs(graph).input_tensors[0].shape == (1, 3, 4, 4)
