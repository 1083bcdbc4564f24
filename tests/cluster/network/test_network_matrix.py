"""The same tokens from kernels in real worker processes, however the model is cut and run."""

import itertools
import json

import pytest
from network_cluster import SMALL, open_engine, workers
from test_network_golden import SPLITS, STORIES

from runtimes.cluster.bench import measure
from runtimes.cluster.exchange import Topology
from runtimes.cluster.formation import Deployment
from runtimes.cluster.formats.llama2c import Llama2cModel
from runtimes.cluster.formats.synthetic import SyntheticModel
from runtimes.cluster.head import Head
from runtimes.cluster.launch import ClusterModel
from runtimes.cluster.reference import ReferenceEngine
from runtimes.cluster.shard_writer import write_shard
from runtimes.cluster.timing import Clock
from runtimes.cluster.transfer import StoredShard
from runtimes.cluster.unsplit import run_unsplit
from runtimes.cluster.weights import SlicedWeights
from runtimes.cluster.wire import Encoding
from toolchain.cluster.residency import fixed_bytes, streamable_blocks
from toolchain.cluster.split import split

TOKENS, CAPACITY = 24, 96


def real_or_random():
    """A model with a text that it must give: the real one where it is at hand."""
    if STORIES.exists():
        golden = json.loads((STORIES / "derived/golden_public.json").read_text())["prompts"]
        text = next(iter(golden.values()))
        source = Llama2cModel(STORIES / "stories260K.bin")
        return source, text["prompt_ids"], text["greedy_ids"][:TOKENS]
    source, tokens = SyntheticModel(SMALL, 1), [3, 1, 4, 1, 5]
    engine = ReferenceEngine(SlicedWeights(source, split(SMALL, [1.0])[0]))
    for _ in range(TOKENS):
        tokens.append(int(run_unsplit([engine], tokens)[-1].argmax()))
    return source, tokens[:5], tokens[5:]


def streaming_ram(config, share):
    """Bytes for which half of a rank's weights must stream."""
    sizes = streamable_blocks(config, share, 32)
    fixed = fixed_bytes(config, share, 32, capacity=CAPACITY, kv="f32")
    return fixed + max(sum(sizes) // 2, 2 * max(sizes))


@pytest.mark.slow
@pytest.mark.parametrize("weights", SPLITS)
def test_every_way_to_run_gives_the_same_tokens(tmp_path, weights):
    source, prompt, expected = real_or_random()
    config, shares = source.config, split(source.config, weights)
    files = [tmp_path / f"{share.rank}.shard" for share in shares]
    for share, path in zip(shares, files, strict=True):
        write_shard(source, share, 32, path, digest="0" * 64)
    shards = tuple(StoredShard.of(rank, path) for rank, path in enumerate(files))
    head_ram, *worker_ram = (streaming_ram(config, share) for share in shares)
    # Random weights make near ties, which fp16 may decide otherwise.
    encodings = [Encoding.F32, Encoding.F16] if STORIES.exists() else [Encoding.F32]
    ways = itertools.product([Topology.MESH, Topology.STAR], encodings, [False, True])
    with workers(tmp_path, len(weights) - 1) as running:
        addresses = tuple(worker.at() for worker in running)
        for topology, encoding, streamed in ways:
            deployment = Deployment(
                *(config, shares, shards, addresses, topology, encoding),
                capacity=CAPACITY,
                head_ram=head_ram if streamed else 0,
                worker_ram=tuple(worker_ram) if streamed else (),
            )
            engines = []

            def opened(path, request, engines=engines):
                engines.append(open_engine(path, request))
                return engines[-1]

            with Head(deployment, opened) as head:
                options = {"rounds": 1, "guesses": 4, "clock": Clock()}
                runs = measure(ClusterModel(head), prompt, TOKENS, **options)
                assert bool(engines[0].residency.streamed) == streamed
                assert not head.faults
            (plain,), (guessed,) = runs.plain, runs.guessed
            assert plain.tokens == guessed.tokens == tuple(expected), (topology, encoding, streamed)
