"""The cost model against published and measured figures."""

import pytest

from toolchain.cluster.config import ModelConfig
from toolchain.cluster.devices import Link, parse_devices
from toolchain.cluster.predict import exchange_seconds, payload_bytes
from toolchain.cluster.window import peak_values, steadiness
from toolchain.errors import UsageError

LLAMA_2_70B = ModelConfig("llama", 8192, 28672, 80, 64, 8, 128, 32000, 4096)
LLAMA_31_70B = ModelConfig("llama", 8192, 28672, 80, 64, 8, 128, 128256, 4096)
NET = Link(latency_s=1e-3, bytes_per_s=12.5e6)


def test_steady_state_of_the_paper():
    """TPI-LLM's example: 11 + 17 ms computing, 14 ms all-reduce, 18 + 30 ms loading."""
    assert steadiness((11, 17), 14, (18, 30), 32) == "loose"  # 56 >= 48; 25 < 30
    assert steadiness((16, 17), 14, (18, 30), 32) == "tight"
    assert steadiness((11, 17), 9, (18, 30), 32) == "stalls"  # 46 < 48


@pytest.mark.parametrize(
    ("config", "window", "master", "worker"),
    [
        (LLAMA_2_70B, 2, 1.953, 0.398),
        (LLAMA_2_70B, 4, 2.352, 0.797),
        (LLAMA_31_70B, 2, 7.828, 0.398),
    ],
)
def test_peak_memory_of_the_paper(config, window, master, worker):
    peaks = [4 * values / 2**30 for values in peak_values(config, 1 / 8, window)]
    assert peaks == pytest.approx([master, worker], abs=5e-4)


@pytest.mark.parametrize(
    ("topology", "devices", "payload", "milliseconds"),
    [  # measured with plain TCP on an emulated link of 1 ms and 100 Mbit/s
        ("mesh", 2, "int8", 1.587),
        ("mesh", 4, "int8", 2.231),
        ("mesh", 2, "f32", 2.605),
        ("mesh", 4, "f32", 5.301),
        ("star", 2, "f32", 4.940),
    ],
)
def test_exchange_model_agrees_with_measurements(topology, devices, payload, milliseconds):
    seconds = exchange_seconds(topology, devices, payload_bytes(payload, 4096), NET)
    assert seconds == pytest.approx(milliseconds * 1e-3, rel=0.08)


def test_topologies_win_where_they_should():
    def best(devices, link, size=4352):
        times = {
            kind: exchange_seconds(kind, devices, size, link)
            for kind in ("mesh", "star", "doubling")
        }
        return min(times, key=times.__getitem__)

    assert best(2, NET) == best(4, NET) == "mesh"
    slow = Link(latency_s=0.1e-3, bytes_per_s=1.25e6)
    assert best(8, slow, 16384) == "doubling"
    air = Link(latency_s=0.2e-3, bytes_per_s=2.5e6, medium="shared")
    assert best(5, air) == "star"


def test_cluster_toml():
    text = {
        "link": {"latency": "2ms", "bandwidth": "1Gbit", "medium": "shared"},
        "device": [{"name": "a", "ram": "1.5G"}, {"address": "h:1", "weights": "3GB/s"}],
    }
    cluster = parse_devices(text)
    assert cluster.link == Link(2e-3, 125e6, "shared")
    assert cluster.devices[0].ram == 3 << 29
    assert (cluster.devices[1].name, cluster.devices[1].weights_per_s) == ("device 1", 3e9)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, r"needs \[\[device\]\]"),
        ({"device": [{"rma": "2G"}]}, "Did you mean ram"),
        ({"device": [{"ram": 2.5}]}, None),
        ({"device": [{"ram": "lots"}]}, "a number with a unit"),
        ({"device": [{"weights": "9"}]}, "gb/s"),
        ({"device": [{"name": 3}]}, "short text"),
        ({"device": [{}], "link": {"medium": "rope"}}, "switched or shared"),
        ({"device": [{}], "link": {"bandwidth": "0Mbit"}}, "must be positive"),
        ({"device": {}}, r"needs \[\[device\]\]"),
    ],
)
def test_bad_cluster_toml(values, message):
    if message is None:
        assert parse_devices(values).devices[0].ram == 2
        return
    with pytest.raises(UsageError, match=message) as caught:
        parse_devices(values)
    assert caught.value.exit_code == 2
