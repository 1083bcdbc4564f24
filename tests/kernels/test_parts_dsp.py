"""Convolutions in parts: exact with every share of memory, emulated and as portable text."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.counting import count
from boards import load_board
from nas.draft import Draft
from runtimes.toolchains import gcc
from tests.kernels.random_weighted import activation, layer, pads, size, stride
from tests.kernels.sanitized import assert_portable_text_is_exact
from tests.ops.harness import CASES, assert_c_equals_reference
from toolchain.ir import Graph
from toolchain.kernels import Isa, Kernel, all_kernels
from toolchain.kernels.base import integer
from toolchain.kernels.conv_dsp import Geometry
from toolchain.kernels.cost import ERROR
from toolchain.kernels.parts_dsp import Conv2dParts, best_shares
from toolchain.numerics import Activation
from toolchain.ops import Conv2D
from toolchain.plan import LayerStage, plan_layers
from toolchain.plan.lowering import lower

Make = Callable[[np.random.Generator], Graph]
KERNELS = [kernel for kernel in all_kernels() if isinstance(kernel, Conv2dParts)]
SMALL = [kernel for kernel in KERNELS if kernel.scratch < 400]
EACH = CASES // len(KERNELS) + 10  # random layers per kernel
STEPS = range(1, 60, 7)


def random_window(rng: np.random.Generator) -> Graph:
    """Return a convolution whose segments are whole words, some of one channel; few are refused."""
    width = int(rng.choice([1, 2, 3, 3, 4]))
    in_c = int(rng.choice([4, 8, 12, 16, 20] if width % 4 else [1, 2, 4, 8]))
    kernel = int(rng.choice([1, 2, 3, 3, 5, 10])), width
    op = Conv2D(stride(rng), (int(rng.choice([1, 1, 2])), 1), pads(rng), activation(rng))
    out_c = 4 * int(rng.integers(1, 9))
    rows, columns = size(rng, kernel, op.dilation)
    x_shape = int(rng.integers(1, 3)), rows, columns + int(rng.choice([0, 0, 0, 20])), in_c
    return layer(rng, op, x_shape, (out_c, *kernel, in_c))


def windows_of(kernel: Conv2dParts) -> Make:
    """Return a maker of random layers that differ from those of other kernels."""

    def make(rng: np.random.Generator) -> Graph:
        return random_window(np.random.default_rng((kernel.scratch, int(rng.integers(2**31)))))

    return make


def kinds(kernel: Conv2dParts) -> Iterator[tuple[object, ...]]:
    """Yield what blocks of the random layers are like that ``kernel`` runs."""
    for seed in range(EACH):
        graph = windows_of(kernel)(np.random.default_rng(seed))
        (stage,) = plan_layers(graph, Isa.DSP).stages
        assert isinstance(stage, LayerStage)
        if stage.kernel != kernel.name:
            continue
        lowered = lower(graph.nodes[0].op, graph.operands(graph.nodes[0]))
        geometry, pairs = Geometry.of(lowered.numbers), integer(lowered.numbers, "out_c") // 2
        mode = next(
            h.numbers["mode"] for h in kernel.specialise(lowered).helpers if "mode" in h.numbers
        )
        for _, pixels, s in kernel.blocks(lowered):
            parted, grouped = s.part < geometry.steps, s.group < pairs
            sums = s.sums < 0, s.inputs < 0, parted, grouped, s.apart > 0
            yield pixels, *sums, geometry.edges, mode


def only(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make it the only kernel beside the portable ones."""
    monkeypatch.setattr("toolchain.kernels._SPECIAL", (kernel,))


@pytest.mark.slow
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_the_emulated_core_is_exact(
    kernel: Conv2dParts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(kernel, monkeypatch)
    assert_c_equals_reference(windows_of(kernel), tmp_path, EACH, isa=Isa.DSP)


@pytest.mark.slow
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_the_portable_text_is_exact_and_defined(
    kernel: Conv2dParts,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    only(kernel, monkeypatch)
    assert_portable_text_is_exact(windows_of(kernel), Isa.DSP, tmp_path, range(EACH // 2))
    assert "runtime error" not in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(gcc() is None, reason="the constants are those of GCC's code")
@pytest.mark.parametrize("scratch", [96, 336, 768])
def test_estimates_are_within_the_stated_error(
    scratch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(Conv2dParts(scratch), monkeypatch)
    draft = Draft("layer")
    graph = draft.graph(draft.conv(draft.input(1, 13, 13, 24), 32, 3, activation=Activation.RELU))
    estimate = plan_layers(graph, Isa.DSP).instructions
    assert estimate == pytest.approx(count(graph, load_board("nucleo_l4r5zi")).instructions, ERROR)


def test_the_random_layers_reach_every_kind_of_block(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[tuple[object, ...]] = set()
    for kernel in KERNELS:
        only(kernel, monkeypatch)
        seen |= set(kinds(kernel))
    pixels, *answers, _ = (set(column) for column in zip(*seen, strict=True))
    formulas = {(pixels, mode) for pixels, *_, mode in seen}
    assert formulas == set(itertools.product((2, 3), ("lean", "linear", "signed", "general")))
    assert pixels == {2, 3}
    assert answers == [{False, True}] * 6
    assert len(seen) > 20


@pytest.mark.parametrize("free", [0, 40, 64, 200, 1000])
@pytest.mark.parametrize("scratch", [kernel.scratch for kernel in SMALL])
def test_sums_and_inputs_have_room_and_do_not_meet(scratch: int, free: int) -> None:
    for pixels, steps, pairs in ((p, s, n) for p in (2, 3) for s in STEPS for n in (2, 8, 33)):
        found = best_shares(pixels, (steps, steps), pairs, scratch, free)
        assert found is not None
        areas = sorted(
            (start, start + size)
            for start, size in (
                (found.sums, (found.group - found.apart) * pixels * 2),
                (found.others, found.apart * pixels * 2),
                (found.inputs, found.part * pixels * 2),
            )
            if size
        )
        assert all(before[1] <= behind[0] for before, behind in itertools.pairwise(areas))
        for start, end in areas:
            assert (start >= 0 and end <= scratch // 4) or (-free // 4 <= start and end <= 0)
