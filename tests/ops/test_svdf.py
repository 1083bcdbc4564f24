from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.ops.harness import assert_c_equals_reference
from tests.ops.random_operands import int8_tensor, ints
from tests.ops.recurrent import (
    assert_sequences_are_sound,
    assert_sequences_equal_micro,
    dsp_kernels,
    recurrent,
    watched,
)
from toolchain.errors import ModelError
from toolchain.ir import DType, Graph, Quant, Tensor, constant
from toolchain.kernels import Isa
from toolchain.ops import Svdf

_DSP_CASES = 80


def random_svdf(rng: np.random.Generator) -> Graph:
    """Return an SVDF; every third has a state of 16 bits."""
    rank, units, inputs, memory = ints(rng, 1, 3, 1) + ints(rng, 1, 9, 3)
    batch, filters = int(rng.integers(1, 3)), rank * units
    kind = DType.INT16 if rng.integers(3) == 0 else DType.INT8
    x, y = int8_tensor(rng, "x", (batch, inputs)), int8_tensor(rng, "y", (batch, units))
    features = constant(
        "features",
        rng.integers(-127, 128, (filters, inputs), dtype=np.int8),
        Quant.per_tensor(rng.uniform(0.001, 0.02)),
    )
    fine = 256.0 if kind is DType.INT16 else 1.0
    low, high = kind.limits
    slope, scale = rng.uniform(0.001, 0.02) / fine, rng.uniform(0.02, 0.3) / fine
    time = constant(
        "time",
        rng.integers(low + 1, high, (filters, memory), dtype=kind.numpy),
        Quant.per_tensor(slope),
    )
    data = rng.integers(-2000, 2000, units, dtype=np.int32)
    bias = constant("bias", data, Quant.per_tensor(scale * slope))
    zero = 0 if kind is DType.INT16 else int(rng.integers(-128, 128))
    state = Tensor("state", (batch, filters * memory), kind, Quant.per_tensor(scale, zero))
    return recurrent(Svdf(rank), [x, features, time, bias, state], y, [state])


def perhaps_without_bias(rng: np.random.Generator) -> Graph:
    """Return an SVDF, every fourth without a bias, with which TFLite Micro cannot cope."""
    graph = random_svdf(rng)
    if rng.integers(4):
        return graph
    inputs = [graph.tensors.get(name) for name in ("x", "features", "time", "none", "state")]
    (state,) = (tensor for tensor in inputs[4:] if tensor is not None)
    return recurrent(graph.nodes[0].op, inputs, graph.output_tensors[0], [state])


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(lambda rng: watched(perhaps_without_bias(rng)), tmp_path)


@pytest.mark.slow
def test_c_for_the_dsp_extension_equals_reference(tmp_path: Path) -> None:
    def make(rng: np.random.Generator) -> Graph:
        return watched(perhaps_without_bias(rng))

    assert "svdf_dsp" in dsp_kernels(make, _DSP_CASES)
    assert_c_equals_reference(make, tmp_path, _DSP_CASES, Isa.DSP)


@pytest.mark.parametrize("isa", [Isa.PORTABLE, Isa.DSP])
def test_generated_c_is_defined(isa: Isa, tmp_path: Path) -> None:
    assert_sequences_are_sound(lambda rng: watched(random_svdf(rng)), tmp_path, isa, range(5))


def test_sequences_equal_tflite_micro() -> None:
    assert_sequences_equal_micro(random_svdf)


def test_filters_that_do_not_divide_by_the_rank_are_refused() -> None:
    graph = next(g for g in map(random_svdf, map(np.random.default_rng, range(9))))
    (node,) = graph.nodes
    filters = graph.tensors["features"].shape[0]
    with pytest.raises(ModelError, match="do not divide"):
        Svdf(filters + 1).infer(graph.operands(node))
