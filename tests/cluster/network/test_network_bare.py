"""What a device must have installed is little: no numpy, or no C compiler."""

import subprocess
import sys

import numpy as np
import pytest
from network_cluster import SMALL
from test_network_cli import converted

from runtimes.cluster.array_codec import ArrayCodec, add_in_rank_order
from runtimes.cluster.arrays import array_of, rows_of
from runtimes.cluster.buffers import Buffer, Rows
from runtimes.cluster.deploy import HeadOptions, open_head
from runtimes.cluster.device import Settings
from runtimes.cluster.emulate.cluster import EmulatedCluster, worker_command
from runtimes.cluster.native_engine import EngineOptions, NativeEngine
from runtimes.cluster.payload import payload_bytes
from runtimes.cluster.reference import ReferenceEngine
from runtimes.cluster.shard import ShardFile
from runtimes.cluster.shard_folder import open_shards
from runtimes.cluster.shard_weights import ShardWeights
from runtimes.cluster.unsplit import run_unsplit
from runtimes.cluster.wire import Encoding

TOKENS = [5, 17, 3, 90, 41, 8, 8, 2]
BARE = "import sys; sys.modules.update(numpy=None, rich=None); "


def bare(module, *arguments):
    """A Python to which numpy and rich are not installed."""
    call = f"from {module} import main; sys.exit(main(sys.argv[1:]))"
    return [sys.executable, "-c", BARE + call, *arguments]


def bare_worker(caches):
    def command(number):
        cache = str(caches / str(number))
        settings = Settings("127.0.0.1:0", cache, "", 0, "", 1, json=False, quiet=True)
        return bare("runtimes.cluster.device", settings.command()[-1])

    return command


def without_compiler(monkeypatch, folder):
    monkeypatch.setenv("CC", "no-such-compiler")
    monkeypatch.setenv("TESSERA_CACHE", str(folder / "no-kernels"))


def sum_as_sent(encoding):
    """What the network does to partial sums, in numpy."""

    def decoded(partial):
        codec, data = ArrayCodec(encoding, partial.size), Buffer.zeros(4096)
        data = data.part(0, payload_bytes(encoding, partial.size))
        out = Rows.empty(1, partial.size, fixed=encoding is Encoding.FIXED)
        codec.encode(rows_of(partial), data)
        codec.decode(data.view, out)
        return array_of(out).reshape(partial.shape)

    return lambda partials: add_in_rank_order(np.stack([decoded(p) for p in partials]))


def logits_of(head):
    parts = [head.forward(0, TOKENS[:5], 0)]
    parts += [head.forward(0, [token], 5 + i) for i, token in enumerate(TOKENS[5:])]
    return np.concatenate([array_of(part) for part in parts])


def expected_logits(engines, encoding):
    exchange = sum_as_sent(encoding)
    parts = [run_unsplit(engines, TOKENS[:5], exchange=exchange)]
    for i, token in enumerate(TOKENS[5:]):
        parts.append(run_unsplit(engines, [token], position=5 + i, exchange=exchange))
    return np.concatenate(parts)


@pytest.mark.parametrize(
    ("bits", "encoding"),
    [(4, Encoding.INT8), (4, Encoding.F16), (8, Encoding.F32), (32, Encoding.FIXED)],
)
def test_workers_without_numpy_compute_the_model(tmp_path, bits, encoding):
    shards = open_shards(converted(tmp_path / "shards", 3, bits))
    options = HeadOptions(capacity=64, encoding=encoding, kv="f32")
    with (
        EmulatedCluster(2, "", bare_worker(tmp_path)) as cluster,
        open_head(shards.path, cluster.addresses, options) as head,
    ):
        actual = logits_of(head)
    settings = EngineOptions(reproducible=encoding is Encoding.FIXED)
    files = [ShardFile(shards.shard(rank)) for rank in range(3)]
    expected = expected_logits([NativeEngine(file, settings) for file in files], encoding)
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("encoding", [Encoding.F32, Encoding.INT8])
def test_a_worker_without_a_compiler_computes_its_4_bit_shard_in_numpy(
    tmp_path, monkeypatch, encoding
):
    shards = open_shards(converted(tmp_path / "shards", 2, 4))
    options = HeadOptions(capacity=64, encoding=encoding, kv="f32")
    with monkeypatch.context() as environment:
        without_compiler(environment, tmp_path)
        cluster = EmulatedCluster(1, "", worker_command(tmp_path))
    with cluster, open_head(shards.path, cluster.addresses, options) as head:
        actual = logits_of(head)
    own, other = (ShardFile(shards.shard(rank)) for rank in range(2))
    engines = [NativeEngine(own), ReferenceEngine(ShardWeights(other))]
    np.testing.assert_array_equal(actual, expected_logits(engines, encoding))
    assert SMALL.hidden % 32 == 0  # no exchange of the test hides a padded group


def test_a_device_with_neither_says_what_helps(tmp_path, monkeypatch):
    without_compiler(monkeypatch, tmp_path)
    command = bare_worker(tmp_path)(0)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 6
    assert "error[E601]: no C compiler found" in done.stderr
    assert "hint: apt-get install gcc" in done.stderr
    assert "hint: pip install numpy" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "exit_code", "says"),
    [
        (["cluster", "keygen", "pi", "-o", "{}"], 0, "next: tessera cluster worker"),
        (["cluster", "worker", "--help"], 0, "--listen"),
        (["doctor"], 0, "C compiler of this machine"),
        (["cluster", "convert", "{}", "-o", "{}/s"], 2, 'pip install "tessera[cluster-convert]"'),
        (["ops"], 2, 'hint: pip install "tessera[mcu]"'),
    ],
)
def test_verbs_without_numpy_work_or_say_what_to_install(tmp_path, arguments, exit_code, says):
    words = [word.format(tmp_path) for word in arguments]
    done = subprocess.run(
        bare("toolchain.cli", *words), capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == exit_code, done.stderr
    assert says in done.stdout + done.stderr


def test_a_device_measures_itself_without_numpy():
    code = BARE + "import runtimes.cluster.profile, runtimes.cluster.measure"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
