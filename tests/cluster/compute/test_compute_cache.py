"""Key/value caches: the bytes of their definition, on every instruction set."""

import dataclasses

import numpy as np
import pytest
from cluster_models import configs, device_weights, reference_engines, synthetic, tokens_of
from hypothesis import given, settings
from hypothesis import strategies as st
from test_compute_kernels import arm_program, run_arm_program
from test_compute_native import native_engines, run, shard_files

from runtimes.cluster.arrays import bytes_of
from runtimes.cluster.buffers import Buffer
from runtimes.cluster.channels import MAGNITUDES, channel_order
from runtimes.cluster.formats.synthetic import SyntheticModel
from runtimes.cluster.kv_cache import decode_blocks, encode_blocks, row_store
from runtimes.cluster.native import cpu
from runtimes.cluster.native.library import load
from runtimes.cluster.unsplit import run_unsplit
from runtimes.cluster.weights import SlicedWeights
from toolchain.cluster.config import ModelConfig
from toolchain.cluster.split import KV_SLACK, split

SMALL = ModelConfig("small", 96, 172, 3, 8, 4, 40, 100, 64)
HERE = [variant.name for variant in cpu.supported()]
BLOCKS = [f"bfp{bits}" for bits in (4, 5, 6, 7, 8)]
spreads = st.sampled_from([1e-42, 1e-30, 1.0, 1e30])


def rows_of_values(dim, count, spread, seed):
    random = np.random.default_rng(seed)
    rows = random.standard_normal((count, dim)) * np.exp2(random.uniform(-9, 9, dim)) * spread
    rows[random.random(rows.shape) < 0.1] = 0
    return rows.astype(np.float32)


@pytest.mark.parametrize("variant", HERE)
@given(st.integers(1, 70), st.integers(4, 8), st.integers(1, 4), spreads, st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_every_variant_keeps_the_bytes_of_the_definition(variant, dim, bits, count, spread, seed):
    library, rows = load(variant), rows_of_values(dim, count, spread, seed)
    order = np.random.default_rng(seed).permutation(dim).astype(np.int32)
    expected = encode_blocks(rows[:, order], bits)
    memory = Buffer.zeros(expected.size + KV_SLACK)
    packed = bytes_of(memory)[: expected.size].reshape(expected.shape)
    bytes_of(memory)[expected.size :] = 0xFF  # read, never used
    for row, out in zip(rows, packed, strict=True):
        library.tessera_encode_blocks(
            row.ctypes.data, order.ctypes.data, dim, bits, out.ctypes.data
        )
    np.testing.assert_array_equal(packed, expected)
    actual = np.full_like(rows, 77)
    library.tessera_decode_blocks(memory.address, count, dim, bits, actual.ctypes.data)
    assert actual.tobytes() == decode_blocks(expected, dim, bits).tobytes()


@pytest.mark.slow
def test_neon_keeps_the_bytes_of_the_definition(tmp_path):
    program = arm_program("neon", "run_blocks.c", tmp_path)
    for bits, dim in [(4, 64), (5, 48), (6, 70), (7, 16), (8, 9)]:
        rows = rows_of_values(dim, 3, 1.0, bits)
        order = np.random.default_rng(bits).permutation(dim).astype(np.int32)
        header = np.array([bits, dim, len(rows)], np.int32)
        answer = run_arm_program(program, header.tobytes() + order.tobytes() + rows.tobytes())
        packed = encode_blocks(rows[:, order], bits)
        assert answer == packed.tobytes() + decode_blocks(packed, dim, bits).tobytes()


@given(st.integers(1, 70), st.integers(4, 8), st.sampled_from([1e-20, 1.0, 1e30]))
@settings(max_examples=60, deadline=None)
def test_a_number_loses_at_most_a_step_of_its_blocks_largest(dim, bits, spread):
    rows = rows_of_values(dim, 3, spread, dim)
    back = decode_blocks(encode_blocks(rows, bits), dim, bits)
    padded = np.zeros((3, -(-dim // 16) * 16))
    padded[:, :dim] = np.abs(rows)
    largest = padded.reshape(3, -1, 16).max(2).repeat(16, 1)[:, :dim]
    assert np.all(np.abs(back - rows) <= largest * 2.0 ** (1 - bits) * (1 + 1e-6))


@pytest.mark.parametrize("kind", ["f16", "int8", *BLOCKS])
@given(config=configs(), weights=device_weights)
@settings(max_examples=6, deadline=None)
def test_a_cache_has_the_same_meaning_with_and_without_a_compiler(
    kind, config, weights, tmp_path_factory
):
    config = dataclasses.replace(config, layers=1, attention_softcap=0.0)
    source, tokens = synthetic(config), tokens_of(config, 11)
    expected = run(reference_engines(source, weights, kv=kind), tokens)
    paths = shard_files(source, weights, 32, tmp_path_factory.mktemp("shards"))
    actual = run(native_engines(paths, kv=kind), tokens)
    largest = np.abs(expected).max()
    different = np.abs(actual - expected) > 1e-3 * largest  # a key fell to the other side of a step
    assert different.mean() < 0.1
    np.testing.assert_allclose(actual, expected, atol=0.2 * largest)


@given(config=configs(), weights=device_weights, kind=st.sampled_from(BLOCKS))
@settings(max_examples=20, deadline=None)
def test_blocks_never_cross_heads_so_any_split_has_the_same_bits(
    config, weights, kind, tmp_path_factory
):
    source, tokens, folder = synthetic(config), tokens_of(config, 5), tmp_path_factory.mktemp("s")
    runs = [
        run(native_engines(shard_files(source, w, 32, folder), reproducible=True, kv=kind), tokens)
        for w in ([1.0], weights)
    ]
    assert runs[0].tobytes() == runs[1].tobytes()


class WithOutliers(SyntheticModel):
    """A model with a few large key channels in every head, as trained models have."""

    def rows(self, name, start, stop):
        rows = super().rows(name, start, stop)
        if name.endswith(".k"):
            dim = self.config.head_dim
            large = np.random.default_rng(1).permutation(dim)[: dim // 8]
            rows[np.isin(np.arange(start, stop) % dim, large)] *= 12
        return rows


def error_of(paths, kind, tokens, exact):
    return np.linalg.norm(run(native_engines(paths, kv=kind), tokens) - exact)


def test_sorted_outliers_leave_the_other_channels_their_bits(tmp_path, monkeypatch):
    config = dataclasses.replace(SMALL, head_dim=64, context=128)
    source, tokens = WithOutliers(config), tokens_of(config, 96)
    paths = shard_files(source, [1.0], 32, tmp_path)
    exact = run(native_engines(paths), tokens)
    ordered = error_of(paths, "bfp5", tokens, exact)
    monkeypatch.setattr("runtimes.cluster.channels.channel_order", _as_they_are)
    plain = error_of(paths, "bfp5", tokens, exact)
    assert 0 < ordered < 0.85 * plain


@given(st.integers(6, 8), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_sorted_outliers_lower_the_error_of_scores(bits, seed):
    """Outliers in every block of 16 cost all channels their bits; together, those of one block."""
    random = np.random.default_rng(seed)
    sizes = np.where(np.arange(64) % 4 == 3, 30.0, 1.0)
    keys = (random.standard_normal((500, 64)) * sizes).astype(np.float32)
    query = (random.standard_normal(64) / np.sqrt(sizes)).astype(np.float32)
    order = channel_order(sizes.tolist(), 64)
    plain = decode_blocks(encode_blocks(keys, bits), 64, bits) @ query
    ordered = decode_blocks(encode_blocks(keys[:, order], bits), 64, bits) @ query[order]
    exact = keys.astype(np.float64) @ query
    assert np.std(ordered - exact) < 0.5 * np.std(plain - exact)


def _as_they_are(magnitudes, dim):
    return [*range(dim)] * (len(magnitudes) // dim)


def test_magnitudes_are_those_of_keys_and_values_of_random_inputs():
    config = ModelConfig("m", 64, 16, 1, 4, 2, 16, 20, 32, qkv_bias=True, qk_norm=False)
    source = WithOutliers(config)
    weights = SlicedWeights(source, split(config, [1.0])[0])
    x = np.random.default_rng(0).standard_normal((20000, 64)).astype(np.float32)
    x *= weights.tensor("layers.0.attention_norm")
    for kind, name in zip("kv", MAGNITUDES, strict=True):
        y = x @ weights.tensor(f"layers.0.{kind}").T + weights.tensor(f"layers.0.{kind}_bias")
        energy = np.square(y).mean(0)
        if kind == "k":
            energy = energy.reshape(2, 2, 8).mean(1, keepdims=True).repeat(2, 1).reshape(-1)
        magnitudes = weights.tensor(f"layers.0.{name}")
        np.testing.assert_allclose(magnitudes, np.sqrt(energy), rtol=0.05)
        for head, order in enumerate(np.reshape(channel_order(magnitudes.tolist(), 16), (2, 16))):
            assert np.all(np.diff(magnitudes[head * 16 + order]) <= 0)
            assert sorted(order) == list(range(16))


@pytest.mark.parametrize("kind", ["f32", "f16", "int8", *BLOCKS])
def test_rows_come_back_from_where_they_were_stored(kind):
    store = row_store(kind, (2, 3, 5), 20)
    rows = rows_of_values(20, 2, 1.0, 4)
    store[1, 2, 1:3] = rows
    tolerance = {"f32": 0, "f16": 1e-3, "int8": 1 / 200}.get(kind, 2.0 ** (1 - int(kind[-1])))
    np.testing.assert_allclose(store[1, 2, 1:3], rows, atol=tolerance * np.abs(rows).max())
    assert not store[1, 2, 3].any()
    assert not store[0].any()


def test_slots_of_a_block_cache_are_independent(tmp_path):
    source, tokens = synthetic(SMALL), tokens_of(SMALL, 12)
    engines = native_engines(shard_files(source, [1.0, 1.0], 8, tmp_path), slots=2, kv="bfp6")
    first = run_unsplit(engines, tokens, slot=0)
    run_unsplit(engines, tokens[::-1].copy(), slot=1)
    again = run_unsplit(engines, tokens[7:], slot=0, position=7)
    np.testing.assert_array_equal(again, first[7:])
    for engine in engines:
        engine.close()
