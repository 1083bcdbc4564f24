"""A model split over real processes is the model."""

import contextlib
import os
import threading

import numpy as np
import pytest
from network_cluster import deployment, open_engine, synthetic, workers, write_shards

from runtimes.cluster.array_codec import add_in_rank_order
from runtimes.cluster.arrays import array_of
from runtimes.cluster.emulate.link import LinkSpec
from runtimes.cluster.emulate.relay import Relay
from runtimes.cluster.exchange import Topology
from runtimes.cluster.head import Head
from runtimes.cluster.reference import ReferenceEngine
from runtimes.cluster.unsplit import run_unsplit
from runtimes.cluster.weights import SlicedWeights
from toolchain.cluster.split import split

TOKENS = [5, 17, 3, 90, 41, 8, 8, 2]


def unsplit(source, weights, **options):
    return [
        ReferenceEngine(SlicedWeights(source, share), capacity=64, **options)
        for share in split(source.config, weights)
    ]


def tree_sum(partials):
    return add_in_rank_order(np.stack(partials)).copy()


def logits_of(head):
    """A prompt, then single tokens."""
    parts = [head.forward(0, TOKENS[:5], 0)]
    parts += [head.forward(0, [token], 5 + i) for i, token in enumerate(TOKENS[5:])]
    return np.concatenate([array_of(part) for part in parts])


@pytest.mark.parametrize("weights", [[1], [1, 1], [3, 1], [2, 1, 1], [1, 1, 1, 1], [5, 1, 1, 2, 1]])
def test_split_over_processes_is_the_split_in_one_process(tmp_path, weights):
    source, shards = write_shards(tmp_path / "shards", weights, **synthetic())
    engines = unsplit(source, weights)
    expected = [run_unsplit(engines, np.array(TOKENS[:5]), exchange=tree_sum)]
    for i, token in enumerate(TOKENS[5:]):
        row = run_unsplit(engines, np.array([token]), position=5 + i, exchange=tree_sum)
        expected.append(row)
    with workers(tmp_path, len(weights) - 1) as running:
        for topology in Topology:
            plan = deployment(source, shards, [w.at() for w in running], topology=topology)
            with Head(plan, open_engine) as head:
                np.testing.assert_array_equal(logits_of(head), np.concatenate(expected))
                assert not head.faults


@contextlib.contextmanager
def slow_link(worker, link):
    """Where the other worker reaches ``worker``, far away."""
    port = worker.address.rpartition(":")[2]
    relay = Relay(LinkSpec.parse(link), {2: f"127.0.0.1:{port}"})
    address = relay.listen(1, 2)
    end, control = os.pipe()
    thread = threading.Thread(target=relay.serve, args=(end,))
    thread.start()
    try:
        yield address
    finally:
        os.close(control)
        thread.join()
        os.close(end)
        relay.close()


def test_a_head_ahead_of_two_workers_that_wait_for_each_other_loses_none(tmp_path):
    """Without logits to wait for, it begins the next pass while they still end the last one."""
    source, shards = write_shards(tmp_path / "shards", [1, 1, 1], **synthetic())
    with workers(tmp_path, 2) as (near, far), slow_link(far, "20ms,100Mbit") as address:
        results = []
        for routes in ({}, {0: address}):
            plan = deployment(source, shards, [near.at(), far.at(routes=routes)], rows=2)
            with Head(plan, open_engine) as head:
                head.forward(0, [1], 0)
                results.append(array_of(head.forward(0, TOKENS, 1, rows=1)))
                assert not head.faults
    np.testing.assert_array_equal(*results)
