"""The fit check counts arena, stack and data against regions and says what would help."""

from __future__ import annotations

import numpy as np
import pytest

from boards import load_board
from tests.plan.networks import Builder
from toolchain.errors import FitError
from toolchain.ir import Graph
from toolchain.ops import Conv2D
from toolchain.plan import plan_layers
from toolchain.plan.fit import DATA_BYTES, STACK_BYTES, fit


def network(size: int) -> Graph:
    build = Builder(np.random.default_rng(0))
    x = build.activation("x", (1, size, size, 4))
    build.add(Conv2D((2, 2)), x, *build.weights((8, 1, 1, 4), 0))
    return build.graph(x)


def test_arena_stack_and_data_count() -> None:
    graph = network(32)
    plan = plan_layers(graph)
    needs = fit(graph, plan, load_board("bluepill_f103c8"), flash_bytes=10_000)
    assert needs.ram_total_bytes == plan.arena_bytes + STACK_BYTES + DATA_BYTES
    assert needs.require().fits


def test_a_network_that_is_too_large_is_refused_with_bytes_and_boards() -> None:
    graph = network(96)
    plan = plan_layers(graph)
    needs = fit(graph, plan, load_board("bluepill_f103c8"), flash_bytes=70_000)
    with pytest.raises(FitError) as caught:
        needs.require()
    error = caught.value
    assert error.code == "E301"
    assert error.numbers == {
        "SRAM_over_bytes": needs.ram_total_bytes - 20 * 1024,
        "FLASH_over_bytes": 70_000 - 64 * 1024,
    }
    assert '"x" 36864' in str(error.where)
    assert "--board nucleo_f401re" in error.hints
    for board in needs.other_boards():
        assert fit(graph, plan, board, flash_bytes=70_000).fits


def test_no_board_is_large_enough() -> None:
    graph = network(1200)
    needs = fit(graph, plan_layers(graph), load_board("pico"), flash_bytes=0)
    with pytest.raises(FitError) as caught:
        needs.require()
    assert caught.value.hints == ("no known board is large enough",)
