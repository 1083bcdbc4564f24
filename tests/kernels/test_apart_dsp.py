"""The DSP kernels for weights of any value and zero point: emulated, and as portable text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.kernels import random_weighted
from tests.kernels.sanitized import assert_portable_text_is_exact
from tests.ops.harness import CASES, assert_c_equals_reference
from toolchain.ir import Graph
from toolchain.kernels import Isa, candidates

MAKERS: list[Callable[[np.random.Generator], Graph]] = [
    random_weighted.random_conv,
    random_weighted.random_pointwise,
    random_weighted.random_fully_connected,
    random_weighted.random_depthwise,
]


def any_layer(rng: np.random.Generator) -> Graph:
    """Return a layer whose weights reach down to -128 and mostly have a zero point."""
    graph = MAKERS[int(rng.integers(len(MAKERS)))](rng)
    weights = graph.tensors["w"]
    values = weights.values.copy()
    values[rng.random(values.shape) < 0.1] = -128
    graph = replace(graph, tensors={**graph.tensors, "w": replace(weights, data=values)})
    return random_weighted.with_weight_zero_point(graph, rng) if rng.random() < 0.8 else graph


@pytest.mark.slow
def test_the_emulated_core_is_exact(tmp_path: Path) -> None:
    assert_c_equals_reference(any_layer, tmp_path, isa=Isa.DSP)


@pytest.mark.slow
def test_the_portable_text_is_exact_and_defined(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert_portable_text_is_exact(any_layer, Isa.DSP, tmp_path)
    assert "runtime error" not in capfd.readouterr().err


def test_the_random_layers_reach_every_variant() -> None:
    kernels, blocks, modes = set(), set(), set()
    for seed in range(CASES):
        graph = any_layer(np.random.default_rng(seed))
        lowered = graph.nodes[0].op.lower(graph.operands(graph.nodes[0]))
        kernel = candidates(lowered, Isa.DSP)[0]
        kernels.add(kernel.name)
        for helper in kernel.specialise(lowered).helpers:
            if helper.template == "matmul_apart_dsp":
                blocks.add((helper.numbers["pixels"], helper.numbers["odd"]))
                modes.add(helper.numbers["mode"])
    apart = {f"{name}_apart_dsp" for name in ("conv1x1", "conv2d", "fully_connected")}
    assert apart | {"depthwise_pairs_lean_dsp"} <= kernels
    assert blocks == {(pixels, odd) for pixels in (1, 2, 3) for odd in (0, 1)}
    assert modes == {"lean", "linear", "signed", "general"}
