from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.ops.harness import assert_c_equals_reference
from tests.ops.random_operands import ints
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
from toolchain.ops import Lstm

_DSP_CASES = 80


def random_lstm(rng: np.random.Generator, *, wide: bool | None = None) -> Graph:
    """Return an LSTM; every third has activations of 16 bits, unless ``wide`` says."""
    drawn = rng.integers(3) == 0
    wide = drawn if wide is None else wide
    kind, fine = (DType.INT16, 256.0) if wide else (DType.INT8, 1.0)
    batch, steps, inputs = (*ints(rng, 1, 3, 2), *ints(rng, 1, 9, 1))
    units = int(rng.choice([1, 2, 3, 4, 5, 8, 12]))
    major = bool(rng.integers(2))
    op = Lstm(major, float(np.float32(rng.choice([0.0, 0.0, 1.5]))))
    shape = (steps, batch) if major else (batch, steps)

    def activation(name: str, shape: tuple[int, ...], scale: float) -> Tensor:
        zero = 0 if wide else int(rng.integers(-128, 128))
        return Tensor(name, shape, kind, Quant.per_tensor(scale / fine, zero))

    def weights(name: str, columns: int) -> Tensor:
        data = rng.integers(-127, 128, (units, columns), dtype=np.int8)
        return constant(name, data, Quant.per_tensor(rng.uniform(0.002, 0.02)))

    x = activation("x", (*shape, inputs), rng.uniform(0.005, 0.05))
    hidden = activation("hidden", (batch, units), rng.uniform(0.004, 0.01))
    power = -int(rng.integers(8, 14))
    cell = Tensor("cell", (batch, units), DType.INT16, Quant.per_tensor(2.0**power))
    sums = np.int64 if wide else np.int32
    operands = [
        x,
        *(weights(f"w{gate}", inputs) for gate in range(4)),
        *(weights(f"r{gate}", units) for gate in range(4)),
        *(constant(f"b{g}", rng.integers(-9000, 9000, units).astype(sums)) for g in range(4)),
        hidden,
        cell,
    ]
    y = replace(hidden, name="y", shape=(*shape, units))
    return recurrent(op, operands, y, [hidden, cell])


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(lambda rng: watched(random_lstm(rng)), tmp_path)


@pytest.mark.slow
def test_c_for_the_dsp_extension_equals_reference(tmp_path: Path) -> None:
    def make(rng: np.random.Generator) -> Graph:
        return watched(random_lstm(rng))

    assert "lstm_16_dsp" in dsp_kernels(make, _DSP_CASES)
    assert_c_equals_reference(make, tmp_path, _DSP_CASES, Isa.DSP)


@pytest.mark.parametrize("isa", [Isa.PORTABLE, Isa.DSP])
def test_generated_c_is_defined(isa: Isa, tmp_path: Path) -> None:
    assert_sequences_are_sound(lambda rng: watched(random_lstm(rng)), tmp_path, isa, range(5))


@pytest.mark.parametrize("wide", [False, True])
def test_sequences_equal_tflite_micro(wide: bool) -> None:
    assert_sequences_equal_micro(lambda rng: random_lstm(rng, wide=wide))


def test_gates_scale_in_double_precision() -> None:
    # The multipliers of these layers differ in their upper 16 bits where scales are multiplied
    # in single precision.
    for seed in (37, 185):
        assert_sequences_equal_micro(random_lstm, [seed])


def test_cells_with_a_scale_that_is_no_power_of_two_are_refused() -> None:
    graph = random_lstm(np.random.default_rng(0))
    odd = replace(graph.tensors["cell"], quant=Quant.per_tensor(0.0003))
    operands = graph.with_nodes(graph.nodes, [odd]).operands(graph.nodes[0])
    with pytest.raises(ModelError, match="power of two"):
        graph.nodes[0].op.infer(operands)
