"""Predictions of emulated clusters: what is measured is what predictions are made of."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_network_cli import converted

from runtimes.cluster.deploy import HeadOptions
from runtimes.cluster.emulate.link import LinkSpec
from runtimes.cluster.emulate.profile import _model as model
from runtimes.cluster.emulate.profile import _Passes as Passes
from runtimes.cluster.emulate.profile import _solve_link as solve_link
from runtimes.cluster.emulate.profile import predict_emulated
from runtimes.cluster.exchange import Topology
from runtimes.cluster.shard_folder import ShardFolder
from toolchain.cli import main
from toolchain.cluster.devices import Device, Devices, Link
from toolchain.cluster.predict import network_seconds
from toolchain.cluster.split import split


def shards_of(count, folder=None):
    config = model(count, 2048, 32 * count, 8)
    return ShardFolder(folder, config, 4, split(config, [1.0] * count), "0" * 64)


@given(
    count=st.integers(2, 9),
    topology=st.sampled_from(list(Topology)),
    latency=st.floats(0, 0.02),
    mbit=st.floats(1, 10000),
    share=st.floats(0.1, 1.0),
    overhead=st.floats(0, 0.01),
)
def test_a_link_is_recovered_from_the_passes_it_makes(
    count, topology, latency, mbit, share, overhead
):
    shards, options = shards_of(count), HeadOptions(topology=topology)
    spec = LinkSpec(latency, mbit * 125e3)
    link = Link(latency, share * spec.bytes_per_s, overhead_s=overhead)

    def seconds(rows):
        return network_seconds(
            *(shards.config, shards.shares, link),
            topology=str(topology),
            payload="int8",
            rows=rows,
        )

    found, block_s = solve_link(shards, Passes(seconds(1), seconds(32)), spec, options)
    assert found.bytes_per_s == pytest.approx(link.bytes_per_s, rel=1e-4)
    assert found.overhead_s == pytest.approx(overhead, abs=1e-6 + 1e-4 * seconds(1))
    assert block_s == 0.0


def test_one_device_has_no_link():
    found, block_s = solve_link(
        shards_of(1), Passes(0.016, 0.5), LinkSpec(1e-3, 1e6), HeadOptions()
    )
    assert (found.overhead_s, block_s) == (0.0, 0.001)


def test_a_cap_makes_the_disk_count():
    """Bytes that do not fit the cap pass the disk for every token."""
    shards = shards_of(2)
    devices = Devices(Link(1e-3, 12.5e6), (Device("a", disk_per_s=1e6),) * 2)
    free, capped = (
        predict_emulated(shards, devices, HeadOptions(capacity=64, max_ram=ram), prompt=9)
        for ram in (0, 46 << 20)
    )
    assert free.disk_s == 0.0
    assert capped.token_s == capped.disk_s > free.token_s


@pytest.mark.slow
def test_emulate_predicts_from_a_cluster_of_the_same_form(tmp_path, capfd):
    shards = converted(tmp_path / "shards", 2)
    arguments = ["--link", "1ms,1Gbit", "--tokens", "4", "--prompt-tokens", "3", "--json"]
    assert main(["cluster", "emulate", str(shards), *arguments, "--predict"]) == 0
    answer = json.loads(capfd.readouterr().out.splitlines()[-1])
    predicted = answer["result"]["predicted"]
    assert answer["command"] == "cluster emulate"
    assert predicted["exchange_s"] > 6 * 1e-3  # three layers, two exchanges each
    assert predicted["token_s"] == predicted["compute_s"] + predicted["exchange_s"]
    assert not [path for path in shards.iterdir() if path.is_dir()]
