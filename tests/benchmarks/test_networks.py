"""Networks drawn from their layers do the work that is published of them."""

from __future__ import annotations

import pytest

from benchmarks.networks import NETWORKS

MACS = {
    "streaming-wake-word": 826_368,
    "detection": 18_296_320,
    "mcunetv2-large-se": 216_815_264,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_macs_are_the_published_ones(name: str) -> None:
    assert NETWORKS[name]().macs == MACS[name]
