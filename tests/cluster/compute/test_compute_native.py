import dataclasses

import numpy as np
import pytest
from cluster_models import (
    STORIES,
    configs,
    device_weights,
    golden_prompts,
    needs_stories,
    reference_engines,
    synthetic,
    tokens_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from runtimes.cluster.arrays import array_of, rows_of
from runtimes.cluster.engine import Block
from runtimes.cluster.formats.llama2c import Llama2cModel
from runtimes.cluster.native import cpu
from runtimes.cluster.native_engine import EngineOptions, NativeEngine
from runtimes.cluster.reference import ReferenceEngine
from runtimes.cluster.shard import ShardFile
from runtimes.cluster.shard_weights import ShardWeights
from runtimes.cluster.shard_writer import write_shard
from runtimes.cluster.unsplit import run_unsplit
from toolchain.cluster.config import ModelConfig
from toolchain.cluster.split import split

SMALL = ModelConfig("small", 64, 172, 3, 8, 4, 8, 100, 64, qk_norm=True)
HERE = [variant.name for variant in cpu.supported()]


def shard_files(source, weights, bits, folder):
    shares = split(source.config, weights)
    paths = [folder / f"{share.rank}-of-{share.ranks}-{bits}.shard" for share in shares]
    for share, path in zip(shares, paths, strict=True):
        write_shard(source, share, bits, path, digest="0" * 64)
    return paths


def native_engines(paths, **options):
    return [NativeEngine(ShardFile(path), EngineOptions(**options)) for path in paths]


def run(engines, tokens):
    out = run_unsplit(engines, tokens)
    for engine in engines:
        engine.close()
    return out


@given(
    config=configs(),
    weights=device_weights,
    options=st.tuples(st.integers(1, 9), st.integers(1, 3)),
)
@settings(max_examples=60, deadline=None)
def test_native_equals_reference(config, weights, options, tmp_path_factory):
    source, tokens = synthetic(config), tokens_of(config, 11)
    expected = run(reference_engines(source, weights), tokens)
    paths = shard_files(source, weights, 32, tmp_path_factory.mktemp("shards"))
    batch, threads = options
    actual = run(native_engines(paths, batch=batch, threads=threads), tokens)
    np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=3e-4 * np.abs(expected).max())


@given(config=configs(), weights=device_weights)
@settings(max_examples=40, deadline=None)
def test_reproducible_native_logits_have_equal_bits_on_any_split(config, weights, tmp_path_factory):
    source, tokens, folder = synthetic(config), tokens_of(config, 5), tmp_path_factory.mktemp("s")
    runs = [
        run(native_engines(shard_files(source, w, 32, folder), reproducible=True), tokens)
        for w in ([1.0], weights)
    ]
    assert runs[0].tobytes() == runs[1].tobytes()


@given(config=configs(), weights=device_weights, bits=st.sampled_from([4, 8]))
@settings(max_examples=30, deadline=None)
def test_quantised_native_is_close_to_its_own_dequantised_weights(
    config, weights, bits, tmp_path_factory
):
    hidden = max(config.hidden, 16)  # what fewer channels lose to rounding does not average out
    config = dataclasses.replace(
        config, hidden=hidden, attention_softcap=0.0, window=0, global_every=0
    )
    source, tokens = synthetic(config), tokens_of(config, 6)
    paths = shard_files(source, weights, bits, tmp_path_factory.mktemp("shards"))
    expected = run([ReferenceEngine(ShardWeights(ShardFile(path))) for path in paths], tokens)
    actual = run(native_engines(paths), tokens)
    error = np.linalg.norm(actual - expected) / np.linalg.norm(expected)
    assert error < 0.1  # activations are rounded to 8 bits


@pytest.mark.parametrize("variant", HERE)
def test_every_variant_gives_equal_sums_for_quantised_weights(variant, tmp_path):
    source, tokens = synthetic(SMALL), tokens_of(SMALL, 9)
    paths = shard_files(source, [1.0, 2.0], 4, tmp_path)
    best = run(native_engines(paths), tokens)
    other = run(native_engines(paths, kernels=variant), tokens)
    np.testing.assert_allclose(other, best, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("kind", "tolerance"), [("f16", 2e-3), ("int8", 3e-2), ("bfp6", 0.1)])
def test_small_caches_are_close_to_float32(kind, tolerance, tmp_path):
    source, tokens = synthetic(SMALL), tokens_of(SMALL, 24)
    paths = shard_files(source, [1.0, 1.0], 32, tmp_path)
    exact = run(native_engines(paths), tokens)
    small = run(native_engines(paths, kv=kind), tokens)
    error = np.linalg.norm(small - exact) / np.linalg.norm(exact)
    assert 0 < error < tolerance


@pytest.mark.parametrize("bits", [4, 8, 32])
@pytest.mark.parametrize("kv", ["f32", "f16", "int8", "bfp6"])
def test_a_batch_has_the_bits_of_its_tokens_one_by_one(bits, kv, tmp_path):
    source, tokens = synthetic(SMALL), tokens_of(SMALL, 21)
    paths = shard_files(source, [1.0, 1.0], bits, tmp_path)
    engines, singles = native_engines(paths, kv=kv, batch=13), native_engines(paths, kv=kv)
    batch = run_unsplit(engines, tokens)
    steps = [run_unsplit(singles, tokens[i : i + 1], position=i) for i in range(len(tokens))]
    assert np.concatenate(steps).tobytes() == batch.tobytes()


def test_slots_are_independent_and_truncation_forgets(tmp_path):
    source, tokens = synthetic(SMALL), tokens_of(SMALL, 12)
    engines = native_engines(shard_files(source, [1.0, 1.0], 8, tmp_path), slots=2)
    first = run_unsplit(engines, tokens, slot=0)
    run_unsplit(engines, tokens[::-1].copy(), slot=1)
    for engine in engines:
        engine.truncate(0, 7)
    again = run_unsplit(engines, tokens[7:], slot=0, position=7)
    np.testing.assert_array_equal(again, first[7:])
    for engine in engines:
        engine.close()
        engine.close()


@needs_stories
@pytest.mark.parametrize("reproducible", [False, True])
@pytest.mark.parametrize("weights", [[1], [3, 1], [1, 1, 1], [1, 2, 1, 1], [1] * 5], ids=str)
def test_golden_text_and_logits(weights, reproducible, tmp_path):
    source = Llama2cModel(STORIES / "stories260K.bin")
    engines = native_engines(shard_files(source, weights, 32, tmp_path), reproducible=reproducible)
    for golden in golden_prompts():
        ids = []
        logits = run_unsplit(engines, np.array(golden["prompt_ids"]))[-1]
        np.testing.assert_allclose(logits, golden["logits_after_prompt"], atol=1e-4)
        for position in range(len(golden["prompt_ids"]), 80):
            ids.append(int(logits.argmax()))
            logits = run_unsplit(engines, np.array(ids[-1:]), position=position)[-1]
        assert ids == golden["greedy_ids"][: len(ids)]
    for engine in engines:
        engine.close()


@given(hidden=st.integers(1, 70), rows=st.integers(1, 4), reproducible=st.booleans())
@settings(max_examples=20, deadline=None)
def test_residuals_have_the_same_bits_with_and_without_a_compiler(
    hidden, rows, reproducible, tmp_path_factory
):
    """Devices of both kinds in one cluster must not drift apart."""
    config = dataclasses.replace(SMALL, hidden=hidden, post_norms=True)
    (path,) = shard_files(synthetic(config), [1.0], 32, tmp_path_factory.mktemp("s"))
    random = np.random.default_rng(hidden)
    state, total = random.standard_normal((2, rows, hidden), np.float32)
    if reproducible:
        total = (total * 2.0**24).astype(np.int64)
    with_kernels = native_engines([path], reproducible=reproducible)[0]
    without = ReferenceEngine(ShardWeights(ShardFile(path)), reproducible=reproducible)
    sums = [
        array_of(engine.combine(1, block, rows_of(state.copy()), rows_of(total)))
        for engine in (with_kernels, without)
        for block in Block
    ]
    assert sums[0].tobytes() == sums[2].tobytes()
    assert sums[1].tobytes() == sums[3].tobytes()
    with_kernels.close()
