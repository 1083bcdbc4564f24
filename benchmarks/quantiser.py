"""Compare our quantiser with onnxruntime's static quantiser on the same networks and data.

    python -m benchmarks.quantiser FILE.onnx... --data calib.npy --test test.npy
    python -m benchmarks.quantiser FILE.onnx... [--samples 32] [--seed 0]

Without data, inputs are drawn from a smoothed normal distribution: that compares the quantisers,
it says nothing about accuracy. Columns: SQNR in dB of the network's outputs before a final softmax
against the float network, mean over the test cases, for each of our methods and for onnxruntime
(QDQ, per-channel int8 weights, each of its calibration methods).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.importers import import_float
from toolchain.ir import Array, Graph, run
from toolchain.quantization import METHODS, quantize
from toolchain.quantization.report import integer_case, real_values, sqnr

Cases = Sequence[Sequence[Array]]
ORT_METHODS = ("MinMax", "Entropy", "Percentile")


def prepared_model(path: Path, folder: Path) -> Path:
    """Return the model as both quantisers take it.

    A final softmax is cut off, as it hides the errors before it; onnxruntime's scales per channel
    need opset 13 and weights that are no inputs.
    """
    import onnx
    from onnx import version_converter

    model = onnx.load(path)
    constants = {one.name for one in model.graph.initializer}
    for one in [value for value in model.graph.input if value.name in constants]:
        model.graph.input.remove(one)
    if max(o.version for o in model.opset_import if not o.domain) < 13:
        model.ir_version = max(model.ir_version, 7)
        model = version_converter.convert_version(model, 13)
    last = model.graph.node[-1]
    if last.op_type == "Softmax" and last.output[0] == model.graph.output[0].name:
        model.graph.output[0].name = last.input[0]
        model.graph.node.remove(last)
    cut = folder / path.name
    onnx.save(model, cut)
    return cut


def random_cases(graph: Graph, count: int, seed: int) -> Cases:
    """Return inputs whose neighbours along the last axes are alike, as in images and spectra."""
    rng = np.random.default_rng(seed)
    return [[_smooth(rng.normal(0, 1, x.shape)) for x in graph.input_tensors] for _ in range(count)]


def _smooth(values: Array) -> Array:
    for axis in range(1, values.ndim):
        if values.shape[axis] > 8:
            values = (values + np.roll(values, 1, axis) + np.roll(values, -1, axis)) / 1.7
    return np.asarray(values, np.float32)


def ours(graph: Graph, calibration: Cases, test: Cases, method: str) -> list[list[Array]]:
    """Return the real values of our int8 graph's outputs."""
    quantised = quantize(graph, calibration, method)
    outputs = [run(quantised, integer_case(quantised, case)) for case in test]
    return [
        [real_values(t, y) for t, y in zip(quantised.output_tensors, one, strict=True)]
        for one in outputs
    ]


def onnxruntime_outputs(path: Path, cases: Cases) -> list[list[Array]]:
    """Return the outputs of onnxruntime."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(path), options)
    names = [one.name for one in session.get_inputs()]
    return [session.run(None, dict(zip(names, case, strict=True))) for case in cases]


def theirs(path: Path, folder: Path, calibration: Cases, method: str) -> Path:
    """Return the file that onnxruntime's static quantiser makes."""
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    names = [x.name for x in import_float(path).input_tensors]

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.cases: Iterator[Mapping[str, Array]] = iter(
                dict(zip(names, case, strict=True)) for case in calibration
            )

        def get_next(self) -> Any:
            return next(self.cases, None)

    prepared, made = folder / "prepared.onnx", folder / f"{method}.onnx"
    quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
    quantization.quantize_static(
        str(prepared),
        str(made),
        Reader(),
        per_channel=True,
        weight_type=quantization.QuantType.QInt8,
        activation_type=quantization.QuantType.QInt8,
        calibrate_method=getattr(quantization.CalibrationMethod, method),
    )
    return made


def mean_sqnr(real: Sequence[Sequence[Array]], made: Sequence[Sequence[Array]]) -> float:
    """Return the mean over cases of the SQNR of all outputs."""
    found = []
    for want, got in zip(real, made, strict=True):
        x = np.concatenate([np.asarray(y, np.float64).reshape(-1) for y in want])
        q = np.concatenate([np.asarray(y, np.float64).reshape(-1) for y in got])
        found.append(sqnr(float(x @ x), float((x - q) @ (x - q))))
    return float(np.mean(found))


def measure(path: Path, calibration: Cases, test: Cases, folder: Path) -> dict[str, float]:
    """Return the mean SQNR of every quantiser and method."""
    graph = import_float(path)
    real = onnxruntime_outputs(path, test)
    found = {
        f"ours {name}": mean_sqnr(real, ours(graph, calibration, test, name)) for name in METHODS
    }
    for name in ORT_METHODS:
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                made = theirs(path, folder, calibration, name)
            found[f"ort {name}"] = mean_sqnr(real, onnxruntime_outputs(made, test))
        except ValueError:  # its quantiser fails on some networks
            found[f"ort {name} failed"] = -math.inf
    return found


def load(path: Path) -> Cases:
    """Return the cases of an array (N, *shape)."""
    return [[case[None]] for case in np.load(path).astype(np.float32)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--test", type=Path)
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    for original in options.paths:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            path = prepared_model(original, folder)
            graph = import_float(path)
            count, seed = options.samples, options.seed
            calibration = load(options.data) if options.data else random_cases(graph, count, seed)
            test = load(options.test) if options.test else random_cases(graph, count, seed + 1)
            found = measure(path, calibration, test, folder)
        print(original.stem)
        for label, value in sorted(found.items(), key=lambda pair: -pair[1]):
            print(f"  {label:<18} {value:6.2f} dB", flush=True)


if __name__ == "__main__":
    main()
