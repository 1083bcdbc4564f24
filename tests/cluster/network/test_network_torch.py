"""The torch.distributed backend computes the same bits as the ZeroMQ mesh."""

import json
import multiprocessing
from importlib.util import find_spec

import numpy as np
import pytest
from network_cluster import deployment, open_engine, synthetic, workers, write_shards

from runtimes.cluster.arrays import array_of
from runtimes.cluster.head import Head
from runtimes.cluster.step import EngineRequest
from runtimes.cluster.torch_exchange import TorchExchange, TorchHead, serve
from runtimes.cluster.wire import Encoding
from toolchain.errors import ModelError

needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")


def run_rank(rank, ranks, store, path, reproducible):
    request = EngineRequest(1, 64, reproducible, "f32", 0)
    serve(open_engine(path, request), TorchExchange(rank, ranks, store))


@needs_torch
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("encoding", [Encoding.F32, Encoding.FIXED])
def test_gloo_equals_the_zeromq_mesh(tmp_path, encoding):
    source, shards = write_shards(tmp_path / "s", [2, 1, 1], **synthetic())
    with workers(tmp_path, 2) as running:
        plan = deployment(source, shards, [w.at() for w in running], encoding=encoding)
        with Head(plan, open_engine) as head:
            expected = [array_of(head.forward(0, range(9), 0)), array_of(head.forward(0, [7], 9))]
    context = multiprocessing.get_context("spawn")
    reproducible = encoding is Encoding.FIXED
    store = f"file://{tmp_path / 'store'}"
    ranks = [
        context.Process(target=run_rank, args=(r, 3, store, shards[r].path, reproducible))
        for r in (1, 2)
    ]
    for rank in ranks:
        rank.start()
    engine = open_engine(shards[0].path, EngineRequest(1, 64, reproducible, "f32", 0))
    head = TorchHead(engine, plan.shares, TorchExchange(0, 3, store), rows=4)
    np.testing.assert_allclose(array_of(head.forward(0, range(9), 0)), expected[0], atol=1e-5)
    head.truncate(0, 0)
    same_chunks = TorchHead(engine, plan.shares, head._group)
    np.testing.assert_array_equal(array_of(same_chunks.forward(0, range(9), 0)), expected[0])
    np.testing.assert_array_equal(array_of(same_chunks.forward(0, [7], 9)), expected[1])
    same_chunks.close()
    for rank in ranks:
        rank.join(20)
        assert rank.exitcode == 0


@pytest.mark.skipif(find_spec("torch") is not None, reason="torch is installed")
def test_without_torch_one_line_says_so(tmp_path):
    with pytest.raises(ModelError, match="torch is not installed") as caught:
        TorchExchange(0, 1, f"file://{tmp_path / 'store'}")
    assert caught.value.exit_code == 2
    assert json.dumps(caught.value.as_dict())
