"""Layers that differ in sizes only share their kernels, and compute what they did alone."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from codegen.emit import emit
from codegen.sharing import FREE, Variable
from nas.draft import Draft
from nas.layer_list import Block, draw_block
from tests.kernels.random_layers import side_by_side
from tests.kernels.random_weighted import layer
from tests.kernels.sanitized import assert_portable_text_is_exact
from tests.kernels.vector_board import wrong_seeds
from tests.ops.harness import assert_c_equals_reference
from toolchain.ir import Graph
from toolchain.kernels import Isa
from toolchain.kernels.depthwise_pairs_dsp import DepthwisePairsDsp
from toolchain.numerics import Activation
from toolchain.ops import DepthwiseConv2D, HardSwish, Mul
from toolchain.ops.spatial import Pads
from toolchain.plan import plan_layers

CASES = 6
# Streams have these, layers faster ones.
OF_ROWS = DepthwisePairsDsp(), DepthwisePairsDsp("depthwise_pairs_lean_dsp", lanes=1)


def branches(rng: np.random.Generator) -> Graph:
    """Return bottlenecks alike but for their sizes, and small layers alike but for zero points."""
    op = DepthwiseConv2D(pads=Pads(1, 1, 1, 1), activation=Activation.RELU)
    alike = (layer(rng, op, (1, 8, 8, 4), (1, 3, 3, 4), 3, steps=(1,)) for _ in range(3))
    return side_by_side([bottlenecks(rng), *alike])


def bottlenecks(rng: np.random.Generator) -> Graph:
    """Return a network of three bottlenecks side by side, alike but for their sizes."""
    draft = Draft("branches", int(rng.integers(1000)))
    kernel, stride = int(rng.choice([3, 5, 7])), int(rng.choice([1, 2]))
    ends = []
    for _ in range(3):
        height, width = (int(size) for size in rng.integers(2, 13, 2))
        channels, middle = 4 * int(rng.integers(1, 13)), int(rng.choice([8, 16, 120, 128, 144]))
        x = draft.input(1, height, width, channels)
        block = Block(middle, channels, kernel, stride, residual=stride == 1, squeeze=4)
        x = draw_block(draft, x, block, Activation.RELU6)
        ends.append(draft.add(HardSwish(), draft.add(Mul(), x, x)))
    return draft.graph(*ends)


def shared_templates(isa: Isa) -> set[str]:
    """Return the templates of which any of the cases has a function for several layers."""
    found: set[str] = set()
    for seed in range(CASES):
        graph = branches(np.random.default_rng(seed))
        text = emit(graph, plan_layers(graph, isa))["src/model_kernels.h"]
        found |= set(re.findall(r"void (\w+)_\d+_shared\(", text))
    return found


@pytest.mark.slow
def test_every_kernel_that_may_be_shared_is(monkeypatch: pytest.MonkeyPatch) -> None:
    found = set[str]().union(*(shared_templates(isa) for isa in Isa))
    for kernel in OF_ROWS:
        monkeypatch.setattr("toolchain.kernels._SPECIAL", (kernel,))
        found |= shared_templates(Isa.DSP)
    assert found == set(FREE)


@pytest.mark.slow
def test_shared_kernels_of_rows_equal_the_interpreter(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("toolchain.kernels._SPECIAL", (DepthwisePairsDsp(),))
    assert_c_equals_reference(branches, tmp_path / "emulated", CASES, Isa.DSP, "emulator_m4_16m")
    assert_portable_text_is_exact(branches, Isa.DSP, tmp_path / "here", range(CASES))
    assert "runtime error" not in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("isa", "board"), [(Isa.PORTABLE, "emulator_m0plus_16m"), (Isa.DSP, "emulator_m4_16m")]
)
def test_shared_kernels_equal_the_interpreter(isa: Isa, board: str, tmp_path: Path) -> None:
    assert_c_equals_reference(branches, tmp_path, CASES, isa, board)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("qemu-system-arm"), reason="needs QEMU")
def test_shared_vector_kernels_equal_the_interpreter(tmp_path: Path) -> None:
    assert not wrong_seeds(branches, tmp_path, range(CASES))


@pytest.mark.slow
@pytest.mark.parametrize("isa", [Isa.DSP, Isa.MVE], ids=lambda isa: isa.name.lower())
def test_the_portable_text_of_shared_kernels_is_defined(
    isa: Isa, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert_portable_text_is_exact(branches, isa, tmp_path, range(CASES))
    assert "runtime error" not in capfd.readouterr().err


def test_a_number_that_varies_is_not_compared() -> None:
    assert Variable("n.offset", (0,))
    with pytest.raises(TypeError):
        bool(Variable("n.offset"))
    with pytest.raises(TypeError):
        _ = Variable("n.rows") > 1
