"""The 16x8 kernels for the DSP extension: emulated, and their portable text, they are exact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.kernels import random_weighted
from tests.kernels.sanitized import assert_portable_text_is_exact
from tests.ops.harness import CASES, assert_c_equals_reference, single
from tests.ops.wide import widened
from toolchain.ir import Graph, constant
from toolchain.kernels import Isa, candidates

Make = Callable[[np.random.Generator], Graph]
MAKERS = {
    "conv": random_weighted.random_conv,
    "depthwise": random_weighted.random_channels,
    "fc": random_weighted.random_fully_connected,
}


def moderate(make: Make) -> Make:
    """Return a maker of 16x8 layers without the extreme filters, whose sums need 64 bits."""

    def made(rng: np.random.Generator) -> Graph:
        graph = widened(make, rng)
        x, weights, bias, y = (graph.tensors[name] for name in ("x", "w", "b", "y"))
        assert weights.quant is not None
        median = float(np.median(weights.quant.scales))
        scales = tuple(median if s < median / 20 else s for s in weights.quant.scales)
        usual = replace(weights, quant=replace(weights.quant, scales=scales))
        small = constant("b", np.clip(bias.values, -(2**27), 2**27))
        return single(graph.nodes[0].op, [x, usual, small], [y])

    return made


@pytest.mark.parametrize("name", MAKERS)
def test_the_emulated_core_is_exact(name: str, tmp_path: Path) -> None:
    assert_c_equals_reference(moderate(MAKERS[name]), tmp_path, isa=Isa.DSP)


@pytest.mark.slow
@pytest.mark.parametrize("name", MAKERS)
def test_the_portable_text_is_exact_and_defined(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert_portable_text_is_exact(moderate(MAKERS[name]), Isa.DSP, tmp_path)
    assert "runtime error" not in capfd.readouterr().err


@pytest.mark.parametrize("name", MAKERS)
def test_most_layers_run_on_the_dsp_extension(name: str) -> None:
    fast, blocks = 0, set()
    for seed in range(CASES):
        graph = moderate(MAKERS[name])(np.random.default_rng(seed))
        lowered = graph.nodes[0].op.lower(graph.operands(graph.nodes[0]))
        kernel = candidates(lowered, Isa.DSP)[0]
        if kernel.isa is Isa.DSP:
            fast += 1
            helpers = kernel.specialise(lowered).helpers
            blocks |= {tuple(h.numbers[k] for k in ("pixels", "pairs", "odd")) for h in helpers}
    assert fast > CASES // 2
    wanted = {
        "conv": {(p, 1, odd) for p in (1, 2, 3) for odd in (0, 1)},
        "depthwise": set(),
        "fc": {(1, 1, 0), (1, 1, 1), (1, 2, 0)},
    }
    assert blocks == wanted[name]
