import json
import re
import subprocess
import sys
import textwrap
from typing import get_args

import pytest
from cluster_models import configs, device_weights
from hypothesis import given, settings
from hypothesis import strategies as st

from runtimes.cluster.native_engine import EngineOptions, NativeEngine
from runtimes.cluster.opener import RESERVE, EngineOpener, resident_set
from runtimes.cluster.shard import ShardFile
from runtimes.cluster.sparse_shard import write_sparse_shard
from runtimes.cluster.step import EngineRequest
from toolchain.cluster.config import ModelConfig
from toolchain.cluster.residency import fixed_bytes, plan_residency, streamable_blocks
from toolchain.cluster.split import KvKind, block_bytes, split
from toolchain.errors import FitError

LLAMA_70B = ModelConfig("llama", 8192, 28672, 80, 64, 8, 128, 32000, 4096)

RUN = textwrap.dedent("""
    import json, sys
    from pathlib import Path
    from runtimes.cluster.buffers import Rows
    from runtimes.cluster.opener import EngineOpener
    from runtimes.cluster.step import EngineRequest
    path, kernels, limit, capacity, tokens = *sys.argv[1:3], *map(int, sys.argv[3:])
    request = EngineRequest(1, capacity, False, "int8", limit)
    engine = EngineOpener(kernels=kernels)(Path(path), request)
    hidden = Rows.empty(1, engine.config.hidden)
    for position in range(tokens):
        for layer in range(engine.config.layers):
            engine.attention(layer, hidden, 0, position)
            engine.feed_forward(layer, hidden)
        engine.logits(hidden)
    assert kernels or "numpy" not in sys.modules
    engine.close()
    streamed = 0 if kernels else engine.residency.streamed_bytes
    print(json.dumps([streamed, Path("/proc/self/status").read_text()]))
""")


def run_under_limit(path, limit, *, capacity, tokens, kernels=""):
    """Run tokens in a process of its own: bytes streamed per token, peak resident bytes."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(path), kernels, str(limit), str(capacity), str(tokens)],
        capture_output=True,
        text=True,
        check=True,
    )
    streamed, status = json.loads(done.stdout)
    return streamed, 1024 * int(re.search(r"VmHWM:\s+(\d+)", status)[1])


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=40), st.integers(1, 40000))
def test_residency_never_exceeds_the_budget(sizes, budget):
    try:
        plan = plan_residency(sizes, budget)
    except FitError as error:
        assert error.numbers["needed"] > budget  # noqa: PT017
        return
    pinned = [size for number, size in enumerate(sizes) if number not in plan.streamed]
    assert plan.bytes == sum(pinned) + sum(plan.slots) <= budget
    assert all(slot >= sizes[number] for slot in plan.slots for number in plan.streamed)
    assert plan.streamed_bytes == sum(sizes) - sum(pinned)


def test_all_blocks_are_pinned_when_they_fit():
    assert plan_residency([5, 6], 11).streamed == ()
    assert plan_residency([5, 6], None).pinned_bytes == 11


def test_streamed_blocks_lie_evenly_between_pinned_ones():
    streamed = plan_residency([10] * 20, 180).streamed
    gaps = [b - a for a, b in zip(streamed, (*streamed[1:], streamed[0] + 20), strict=True)]
    assert max(gaps) - min(gaps) <= 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
@pytest.mark.parametrize("extra", [20 << 20, 40 << 20])
def test_memory_never_exceeds_the_limit(extra, tmp_path):
    config = ModelConfig("llama", 1024, 4096, 8, 16, 4, 64, 3200, 512)
    path = tmp_path / "a.shard"
    (share,) = split(config, [1.0])
    write_sparse_shard(config, share, 4, path, digest="d")
    _, idle = run_under_limit(path, 1 << 50, capacity=64, tokens=0)
    whole = block_bytes(config, share, 4).weights(config.layers)
    limit = idle - whole + (12 << 20) + extra + (4 << 20)
    streamed, peak = run_under_limit(path, limit, capacity=64, tokens=6)
    assert streamed > 0
    assert peak <= limit


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_the_engine_without_a_compiler_keeps_the_limit_or_refuses_it(tmp_path):
    config = ModelConfig("llama", 512, 2048, 3, 8, 4, 64, 12000, 512)
    path = tmp_path / "a.shard"
    write_sparse_shard(config, split(config, [1.0])[0], 4, path, digest="d")
    request = EngineRequest(1, 64, False, "int8", 1)
    with pytest.raises(FitError, match="computing in numpy needs") as caught:
        EngineOpener(kernels="numpy")(path, request)
    _, here = run_under_limit(path, 1 << 50, capacity=64, tokens=0, kernels="numpy")
    process = 60 << 20  # interpreter, numpy, reserve
    limit = process + int(caught.value.numbers["needed"]) - resident_set() - RESERVE
    _, peak = run_under_limit(path, limit, capacity=64, tokens=2, kernels="numpy")
    assert here < peak <= limit


def test_a_70b_model_fits_four_small_devices_on_paper():
    shares = split(LLAMA_70B, [1.0] * 4)
    for share in shares:
        fixed = fixed_bytes(LLAMA_70B, share, 4, capacity=1024, kv="int8")
        process = 90 << 20  # interpreter, numpy, zmq, buffers
        limit = (1000 if share.rank == 0 else 500) * 10**6
        plan = plan_residency(streamable_blocks(LLAMA_70B, share, 4), limit - process - fixed)
        assert plan.bytes + fixed + process <= limit


@given(
    config=configs(),
    weights=device_weights,
    kv=st.sampled_from(get_args(KvKind)),
    sizes=st.tuples(st.integers(1, 32), st.integers(1, 3), st.integers(1, 40)),
)
@settings(max_examples=30, deadline=None)
def test_engines_occupy_exactly_what_plans_count(config, weights, kv, sizes, tmp_path_factory):
    capacity, slots, batch = sizes
    path = tmp_path_factory.mktemp("plan") / "a.shard"
    for share, bits in zip(split(config, weights), (4, 8, 32), strict=False):
        write_sparse_shard(config, share, bits, path, digest="d")
        options = EngineOptions(slots=slots, capacity=capacity, kv=kv, batch=batch, threads=2)
        engine = NativeEngine(ShardFile(path), options)
        counted = fixed_bytes(
            *(config, share, bits), capacity=capacity, kv=kv, slots=slots, batch=batch, threads=2
        )
        assert engine.memory_bytes == counted + sum(streamable_blocks(config, share, bits))
        engine.close()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_a_70b_worker_runs_in_half_a_gigabyte(tmp_path):
    share = split(LLAMA_70B, [1.0] * 4)[1]
    path = tmp_path / "70b.shard"
    write_sparse_shard(LLAMA_70B, share, 4, path, digest="d")
    streamed, peak = run_under_limit(path, 500 * 10**6, capacity=1024, tokens=2)
    assert streamed > 8 << 30
    assert peak <= 500 * 10**6
