"""Real networks: not one byte differs from independent runtimes. Skipped where they are absent."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from tests.data import shared_data
from tests.ops.harness import random_values
from tests.oracle.runtimes import Micro, Reference
from toolchain.errors import ModelError
from toolchain.importers import ModelWarning, import_model
from toolchain.ir import Session
from toolchain.passes import simplify

INPUTS = 20
INT8 = [
    "mlonmcu/aww",
    "mlperf_tiny/ad01_int8",
    "mlperf_tiny/kws_ref_model",
    "mlperf_tiny/pretrainedResnet_quant",
    "mlperf_tiny/vww_96_int8",
    "ml_zoo/ad_small_int8",
    "ml_zoo/ds_cnn_s_quantized",
    "tflm/hello_world_int8",
    "tflm/person_detect",
    "tflm/simple_add_model",
    "tinyengine/ptq_mnist_lenet-300-100",
    "tinyengine/vww",
]
SEQUENCES = [
    "micro_wake_word/hey_jarvis",
    "micro_wake_word/okay_nabu",
    "micro_wake_word/vad",
    "ml_zoo/rnnoise_INT8",
    "mlonmcu/micro_kws_m_quantized",
    "tflm/keyword_scrambled_8bit",
    "tflm/trained_lstm_int8",
]
STEPS = 60  # of a sequence, in which states live on
LARGE_INT8 = ["mcunet_gap/mcunet-512kb-2mb_imagenet", "tflm/mobilenet_v2_quantized_1x3x224x224"]
UINT8 = ["coral/mobilenet_v1_0.25_128_quant"]
LARGE_UINT8 = ["coral/mobilenet_v2_1.0_224_quant"]
REFUSED = {
    "mlonmcu/MNIST_model_quantized": "E202",
    "mlonmcu/lstm2": "E202",
    "mlonmcu/text_class": "E210",
    "mlperf_tiny/ad01_fp32": "E202",
    "mlperf_tiny/kws_ref_model_float32": "E202",
    "onnx/ultraface/version-RFB-320_without_postprocessing": "E202",
}


def model(name: str) -> Path:
    folder = shared_data()
    path = (folder or Path()) / "models" / f"{name}.tflite"
    if folder is None or not path.is_file():
        pytest.skip("real models are not here")
    return path


def slow(names: list[str]) -> list[object]:
    return [pytest.param(name, marks=pytest.mark.slow) for name in names]


def assert_equal(path: Path, oracle: Micro | Reference, cases: int = INPUTS) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ModelWarning)
        imported = import_model(path)
    graph = simplify(imported, check=True)
    rng = np.random.default_rng(0)
    session = Session(graph)
    for case in range(cases):
        inputs = [random_values(tensor, rng) for tensor in graph.input_tensors]
        expected = oracle.run(inputs, len(graph.outputs))
        for index, (want, got) in enumerate(zip(expected, session.run(inputs), strict=True)):
            np.testing.assert_array_equal(got, want, err_msg=f"case {case}, output {index}")


@pytest.mark.parametrize("name", [*INT8, *slow(LARGE_INT8)])
def test_int8_networks_equal_tflite_micro(name: str) -> None:
    path = model(name)
    assert_equal(path, Micro(path.read_bytes()))


@pytest.mark.parametrize("name", SEQUENCES)
def test_sequences_of_networks_equal_tflite_micro(name: str) -> None:
    path = model(name)
    assert_equal(path, Micro(path.read_bytes()), STEPS)


@pytest.mark.parametrize("name", [*slow(UINT8), *slow(LARGE_UINT8)])
def test_uint8_networks_equal_the_reference_kernels(name: str) -> None:
    path = model(name)
    assert_equal(path, Reference(path.read_bytes()))


@pytest.mark.parametrize(("name", "code"), REFUSED.items())
def test_other_networks_are_refused_with_a_reason(name: str, code: str) -> None:
    with pytest.raises(ModelError) as caught:
        import_model(model(name))
    assert caught.value.code == code


def test_person_detect_is_read_with_one_warning() -> None:
    with pytest.warns(ModelWarning, match="quantised dimension 3") as caught:
        import_model(model("tflm/person_detect"))
    assert len(caught) == 1
