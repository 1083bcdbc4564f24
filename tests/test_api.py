"""The public functions, as a program calls them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import toolchain as ts
from tests.quantization.networks import float_cnn
from toolchain.errors import UsageError
from toolchain.importers import import_model
from toolchain.ir import Graph


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    path = tmp_path / "net.onnx"
    path.write_bytes(float_cnn(0))
    return ts.import_float(path)


def test_the_way_from_a_file_to_a_project(graph: Graph, tmp_path: Path) -> None:
    samples = np.random.default_rng(0).normal(0.3, 1, (16, 3, 16, 12))
    int8 = ts.quantize(graph, samples)
    cases = [[sample[None].astype(np.float32)] for sample in samples]
    assert ts.compare_layers(graph, int8, cases)[-1].sqnr_db > 20
    file = ts.save_tflite(int8, tmp_path / "net.tflite")
    assert import_model(file).input_tensors[0].shape == (1, 16, 12, 3)
    kept = ts.save_tflite(int8, tmp_path / "kept.tflite", keep_layout=True)
    assert import_model(kept).input_tensors[0].shape == (1, 3, 16, 12)
    project = ts.compile(int8, board="nucleo_h743zi", output=tmp_path / "build")
    assert (tmp_path / "build" / "platformio.ini").exists()
    again = ts.compile(file, board="nucleo_h743zi", output=tmp_path / "again")
    assert project.plan.hash == again.plan.hash


def test_samples_may_be_cases(graph: Graph) -> None:
    one = np.ones((3, 16, 12))
    by_array = ts.quantize(graph, np.stack([one, 2 * one]))
    by_case = ts.quantize(graph, ([one * n] for n in (1, 2)))
    assert by_array.tensors["y"].quant == by_case.tensors["y"].quant


def test_samples_of_another_shape_are_refused(graph: Graph) -> None:
    with pytest.raises(UsageError, match=r"needs an array \[1, 3, 16, 12\]"):
        ts.quantize(graph, np.ones((4, 3, 16, 11)))
    with pytest.raises(UsageError, match="1 arrays per case"):
        ts.quantize(graph, [(np.ones((3, 16, 12)), np.ones(3))])


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'quantise'"):
        ts.quantise  # type: ignore[attr-defined]  # noqa: B018
