"""Real text on one to five devices: the golden tokens, whatever the split and the topology."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from network_cluster import ROOT, deployment, open_engine, synthetic, workers, write_shards

from runtimes.cluster.arrays import array_of
from runtimes.cluster.exchange import Topology
from runtimes.cluster.head import Head
from runtimes.cluster.wire import Encoding

SHARED = os.environ.get("TESSERA_SHARED_DATA", ROOT.parent / "shared" / "data")
STORIES = Path(SHARED) / "llm" / "stories260K"
SPLITS = [[1], [1, 1], [3, 1], [2, 1, 1], [1, 1, 1, 1], [1, 2, 1, 1, 1]]


def greedy(head, prompt, count):
    logits = array_of(head.forward(0, prompt, 0, rows=1))
    tokens = [int(logits[0].argmax())]
    for position in range(len(prompt), len(prompt) + count - 1):
        tokens.append(int(array_of(head.forward(0, tokens[-1:], position))[0].argmax()))
    return tokens


@pytest.mark.slow
@pytest.mark.skipif(not STORIES.exists(), reason="stories260K is not here")
@pytest.mark.parametrize("weights", SPLITS)
def test_golden_text(tmp_path, weights):
    golden = json.loads((STORIES / "derived/golden_public.json").read_text())["prompts"]
    model = {"file": str(STORIES / "stories260K.bin")}
    source, shards = write_shards(tmp_path / "shards", weights, **model)
    prompts = [(text["prompt_ids"], text["greedy_ids"]) for text in golden.values()]
    with workers(tmp_path, len(weights) - 1) as running:
        addresses = [worker.at() for worker in running]
        for topology, encoding in [
            (Topology.MESH, Encoding.F32),
            (Topology.STAR, Encoding.F16),
            (Topology.DOUBLING, Encoding.F16),
        ][: 3 if len(weights) == 4 else 2]:
            options = {"topology": topology, "encoding": encoding, "capacity": 128}
            with Head(deployment(source, shards, addresses, **options), open_engine) as head:
                for prompt, expected in prompts:
                    assert greedy(head, prompt, len(expected)) == expected
                    head.truncate(0, 0)
                assert not head.faults


def test_reproducible_logits_are_equal_bit_for_bit_on_any_devices(tmp_path):
    results = []
    for number, weights in enumerate(SPLITS):
        folder = tmp_path / str(number)
        source, shards = write_shards(folder, weights, **synthetic())
        with workers(folder, len(weights) - 1) as running:
            addresses = [worker.at() for worker in running]
            for topology in Topology:
                options = {"topology": topology, "encoding": Encoding.FIXED}
                with Head(deployment(source, shards, addresses, **options), open_engine) as head:
                    first = array_of(head.forward(0, [3, 1, 4, 1, 5], 0))
                    results.append(np.concatenate([first, array_of(head.forward(0, [9], 5))]))
                    assert not head.faults
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


@pytest.mark.parametrize("topology", list(Topology))
def test_runs_with_int8_sums_repeat(tmp_path, topology):
    source, shards = write_shards(tmp_path / "shards", [1, 1, 2], **synthetic())
    results = []
    with workers(tmp_path, 2) as running:
        addresses = [worker.at() for worker in running]
        for encoding in (Encoding.INT8, Encoding.INT8, Encoding.F32):
            options = {"topology": topology, "encoding": encoding}
            with Head(deployment(source, shards, addresses, **options), open_engine) as head:
                results.append(array_of(head.forward(0, [3, 1, 4, 1, 5], 0)))
                assert not head.faults
    np.testing.assert_array_equal(results[0], results[1])
    assert 0 < np.abs(results[0] - results[2]).max() < 0.3
