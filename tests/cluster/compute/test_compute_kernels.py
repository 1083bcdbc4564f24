import ctypes
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtimes.cluster import tiles
from runtimes.cluster.arrays import bytes_of
from runtimes.cluster.buffers import Buffer
from runtimes.cluster.measure import kernel_speed, stream_bandwidth
from runtimes.cluster.native import cpu
from runtimes.cluster.native.build import build, sources
from runtimes.cluster.native.library import RankStruct, load
from runtimes.cluster.packing import best_packer
from toolchain.cluster.split import matrix_bytes
from toolchain.errors import UsageError

HERE = [variant.name for variant in cpu.supported()]


def c_product(library, packed, shape, bits, x, *, threads=1, fixed=False):
    rows, columns = shape
    rank = RankStruct(hidden=columns, bits=bits, batch=len(x), capacity=1, fixed_point=fixed)
    rank.pool = library.tessera_pool_new(threads)
    scratch = Buffer.zeros(library.tessera_scratch_bytes(rank))
    rank.scratch = scratch.address
    weights = Buffer.zeros(packed.size)
    bytes_of(weights)[:] = packed
    out = np.full((len(x), rows), 77, np.int64 if fixed else np.float32)
    library.tessera_matmul(
        ctypes.byref(rank),
        *(weights.address, rows, columns),
        *(np.ascontiguousarray(x).ctypes.data, len(x), out.ctypes.data),
    )
    library.tessera_pool_free(rank.pool)
    return out


shapes = st.tuples(st.integers(1, 70), st.integers(1, 200), st.integers(1, 19))


@pytest.mark.parametrize("bits", [4, 8, 32])
@pytest.mark.parametrize("variant", HERE)
@given(shape=shapes, seed=st.integers(0, 1000), threads=st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_every_variant_gives_the_bits_of_the_definition(variant, bits, shape, seed, threads):
    rows, columns, n = shape
    random = np.random.default_rng(seed)
    packed = tiles.pack(random.standard_normal((rows, columns)).astype(np.float32), bits)
    x = random.standard_normal((n, columns)).astype(np.float32)
    expected = tiles.product(packed, rows, columns, bits, x)
    actual = c_product(load(variant), packed, (rows, columns), bits, x, threads=threads)
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("variant", HERE)
@given(shape=shapes, seed=st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_fixed_point_products_are_exact(variant, shape, seed):
    rows, columns, n = shape
    random = np.random.default_rng(seed)
    matrix = random.standard_normal((rows, columns)).astype(np.float32)
    x = random.standard_normal((n, columns)).astype(np.float32)
    terms = matrix[None].astype(np.float64) * x[:, None] * 2.0**24
    expected = np.rint(terms).astype(np.int64).sum(2)
    packed = tiles.pack(matrix, 32)
    actual = c_product(load(variant), packed, (rows, columns), 32, x, fixed=True)
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("variant", HERE)
def test_extreme_values_do_not_overflow(variant, bits):
    ends = np.where(np.arange(64) % 3, 1.0, -1.0).astype(np.float32)
    matrix = np.stack([ends * sign for sign in (1, -1)] * 8)
    packed = tiles.pack(matrix, bits)
    for x in (ends[None], -ends[None], np.ones((1, 64), np.float32)):
        expected = tiles.product(packed, 16, 64, bits, x)
        np.testing.assert_array_equal(c_product(load(variant), packed, (16, 64), bits, x), expected)


@given(shapes, st.sampled_from([4, 8, 32]), st.floats(1e-3, 1e3))
@settings(max_examples=50, deadline=None)
def test_tiles_are_the_matrix_within_a_step(shape, bits, spread):
    rows, columns, _ = shape
    random = np.random.default_rng(rows * columns)
    matrix = (random.standard_normal((rows, columns)) * spread).astype(np.float32)
    packed = tiles.pack(matrix, bits)
    assert packed.size == matrix_bytes(rows, columns, bits)
    padded = np.zeros((rows, -(-columns // 32) * 32), np.float32)
    padded[:, :columns] = matrix
    largest = np.abs(padded.reshape(rows, -1, 32)).max(2).repeat(32, 1)[:, :columns]
    step = {4: 1.5 / 8.5, 8: 0.51 / 127, 32: 0}[bits] * largest
    assert np.all(np.abs(tiles.unpack(packed, rows, columns, bits) - matrix) <= step * 1.01)


@given(shapes, st.sampled_from([4, 8]), st.sampled_from([1e-7, 1.0, 1e7]))
@settings(max_examples=60, deadline=None)
def test_c_quantises_to_the_bytes_of_the_definition(shape, bits, spread):
    rows, columns, seed = shape
    random = np.random.default_rng(seed)
    matrix = (random.standard_normal((rows, columns)) * spread).astype(np.float32)
    matrix[random.random((rows, columns)) < 0.2] = 0
    np.testing.assert_array_equal(best_packer()(matrix, bits), tiles.pack(matrix, bits))


def test_weights_that_were_4_bit_before_keep_their_bits():
    random = np.random.default_rng(1)
    scales = random.standard_normal((32, 4, 1)).astype(np.float16).astype(np.float32)
    values = random.integers(-8, 8, (32, 4, 32))
    values[..., 5] = -8  # Q4_0 maps the largest weight here
    matrix = (scales * values).astype(np.float32).reshape(32, 128)
    np.testing.assert_array_equal(tiles.unpack(tiles.pack(matrix, 4), 32, 128, 4), matrix)


def test_a_better_scale_is_found_than_plain_rounding():
    matrix = np.random.default_rng(2).standard_normal((64, 512)).astype(np.float32)
    error = np.square(tiles.unpack(tiles.pack(matrix, 4), 64, 512, 4) - matrix).mean()
    groups = matrix.reshape(-1, 32)
    extreme = np.take_along_axis(groups, np.abs(groups).argmax(1)[:, None], 1)
    plain = np.clip(np.rint(groups / (extreme / -8)), -8, 7) * (extreme / -8)
    assert error < 0.95 * np.square(plain - groups).mean()


@pytest.mark.parametrize("variant", HERE)
def test_a_stream_reads_every_byte(variant):
    memory = Buffer.zeros(1024)
    data = bytes_of(memory)
    data[:] = np.random.default_rng(0).integers(0, 256, 1024)
    expected = np.bitwise_xor.reduce(data.view(np.uint64))
    assert load(variant).tessera_stream(memory.address, len(memory)) == expected
    assert stream_bandwidth(1, rounds=1, kernels=variant) > 0
    assert kernel_speed(4, 32, 64, megabytes=1, rounds=1, kernels=variant).bandwidth > 0


def test_unknown_variants_are_refused_by_name():
    with pytest.raises(UsageError, match="sse9"):
        load("sse9")


def arm_program(variant, main, folder):
    """Compile the kernels and a main program into a static one for AArch64 Linux."""
    pytest.importorskip("ziglang")
    features = "+dotprod" if variant == "neon-dotprod" else ""
    program = folder / variant
    subprocess.run(
        [
            *(sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-musl", "-static"),
            *(f"-mcpu=generic{features}", "-std=c99", "-O2", "-Wall", "-Wextra", "-Werror"),
            *("-ffp-contract=off", "-I", str(sources()[0].parent)),
            *(*map(str, sources()), str(Path(__file__).with_name(main))),
            *("-o", str(program), "-lm", "-lpthread"),
        ],
        check=True,
    )
    return program


def run_arm_program(program, data):
    """Run it here, or in an emulator."""
    emulator = shutil.which("qemu-aarch64")
    if platform.machine() != "aarch64" and emulator is None:
        pytest.skip("compiled, but qemu-user is not installed")
    command = [*([emulator, "-cpu", "max"] if emulator else []), str(program)]
    return subprocess.run(command, input=data, capture_output=True, check=True).stdout


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["neon-dotprod", "neon"])
def test_arm_kernels_give_the_bits_of_the_definition(variant, tmp_path):
    program = arm_program(variant, "run_product.c", tmp_path)
    random = np.random.default_rng(3)
    for bits, rows, columns, n in [
        (4, 37, 70, 1),
        (4, 16, 96, 11),
        (8, 33, 40, 9),
        (32, 20, 33, 3),
    ]:
        packed = tiles.pack(random.standard_normal((rows, columns)).astype(np.float32), bits)
        x = random.standard_normal((n, columns)).astype(np.float32)
        header = np.array([bits, rows, columns, n, packed.size], np.int32)
        answer = run_arm_program(program, header.tobytes() + packed.tobytes() + x.tobytes())
        actual = np.frombuffer(answer, np.float32).reshape(n, rows)
        np.testing.assert_array_equal(actual, tiles.product(packed, rows, columns, bits, x))


def test_a_build_is_found_again_in_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("TESSERA_CACHE", str(tmp_path))
    first = build(cpu.VARIANTS[-1])
    stamp = first.stat().st_mtime_ns
    assert build(cpu.VARIANTS[-1]) == first
    assert first.stat().st_mtime_ns == stamp
    assert [path.name for path in tmp_path.iterdir()] == [first.name]
