"""Networks drawn from their layers do the work that is published of them."""

from __future__ import annotations

import pytest

from benchmarks.counting import flash_of
from benchmarks.networks import NETWORKS
from toolchain.kernels import Isa
from toolchain.passes import simplify
from toolchain.plan import plan_layers

MACS = {
    "streaming-wake-word": 826_368,
    "detection": 18_296_320,
    "mcunetv2-large-se": 216_815_264,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_macs_are_the_published_ones(name: str) -> None:
    assert NETWORKS[name]().macs == MACS[name]


@pytest.mark.parametrize("name", NETWORKS)
def test_packing_adds_at_most_a_fiftieth_to_the_parameters(name: str) -> None:
    graph = simplify(NETWORKS[name]())
    flash = flash_of(graph, plan_layers(graph, Isa.DSP), flash_bytes=0)
    assert graph.weight_bytes < flash.packed
    assert flash.growth <= 0.02
