import contextlib
import dataclasses
import hashlib
import json

import numpy as np
import pytest
from cluster_models import STORIES, needs_stories, reference_engines, synthetic, tokens_of
from hypothesis import given, settings
from hypothesis import strategies as st

from runtimes.cluster.arrays import array_of
from runtimes.cluster.buffers import Rows
from runtimes.cluster.convert import convert
from runtimes.cluster.native_engine import EngineOptions, NativeEngine
from runtimes.cluster.opener import RESERVE, EngineOpener, resident_set
from runtimes.cluster.shard import ShardFile
from runtimes.cluster.shard_folder import open_shards
from runtimes.cluster.shard_writer import write_shard
from runtimes.cluster.sparse_shard import write_sparse_shard
from runtimes.cluster.step import EngineRequest
from runtimes.cluster.tokenizer import open_tokenizer
from runtimes.cluster.unsplit import run_unsplit
from toolchain.cli.cluster_convert import command
from toolchain.cluster.config import ModelConfig
from toolchain.cluster.split import block_bytes, split
from toolchain.errors import FitError, ModelError, TesseraError, ToolError

SMALL = ModelConfig("small", 64, 172, 4, 8, 4, 8, 100, 64)


def session(max_ram=0):
    return EngineRequest(slots=1, capacity=32, reproducible=False, kv="f32", max_ram=max_ram)


def one_shard(folder, bits=8, config=SMALL):
    (share,) = split(config, [1.0])
    path = folder / "0-of-1.shard"
    write_shard(synthetic(config), share, bits, path, digest="d")
    return path


def write_llama2c(source, folder):
    """Write a source as a llama2.c model with its vocabulary."""
    config = source.config
    sizes = (config.hidden, config.ffn, config.layers, config.heads, config.kv_heads)
    parts = [np.array([*sizes, -config.vocab, config.context], np.int32)]
    parts.append(source.rows("embedding", 0, config.vocab))
    order = ("attention_norm", "q", "k", "v", "o", "feed_forward_norm", "gate", "down", "up")
    rows = {"gate": config.ffn, "up": config.ffn, "q": config.hidden, "k": 32, "v": 32}
    for kind in order:
        count = rows.get(kind, config.hidden)
        parts += [source.rows(f"layers.{i}.{kind}", 0, count) for i in range(config.layers)]
    parts.append(source.rows("final_norm", 0, config.hidden))
    parts.append(np.zeros(config.context * config.head_dim, np.float32))
    parts.append(source.rows("classifier", 0, config.vocab))
    (folder / "model.bin").write_bytes(b"".join(part.tobytes() for part in parts))
    entries = [np.float32(0).tobytes() + b"\1\0\0\0" + bytes([33 + i]) for i in range(config.vocab)]
    (folder / "tokenizer.bin").write_bytes(b"\1\0\0\0" + b"".join(entries))
    return folder / "model.bin"


def test_convert_command_gives_shards_that_compute(tmp_path, capsys):
    config = dataclasses.replace(SMALL, rope_style="interleaved")
    model = write_llama2c(synthetic(config), tmp_path)
    out = tmp_path / "shards"
    arguments = [str(model), "-o", str(out), "--bits", "32", "-n", "2,1"]
    command.main(arguments, standalone_mode=False)
    assert "next: tessera cluster chat" in capsys.readouterr().out
    folder = open_shards(out)
    assert [len(share.kv_heads) for share in folder.shares] == [3, 1]
    engines = [NativeEngine(ShardFile(folder.shard(rank))) for rank in range(2)]
    tokens = tokens_of(config, 9)
    expected = run_unsplit(reference_engines(synthetic(config), [1.0]), tokens)
    np.testing.assert_allclose(run_unsplit(engines, tokens), expected, rtol=1e-3, atol=1e-4)
    assert open_tokenizer(out).decode([5]) == "&"


@needs_stories
def test_real_model_converts_to_the_same_tokens(tmp_path):
    shards = convert(STORIES / "stories260K.bin", tmp_path, bits=8, weights=[1, 1, 1])
    engines = [NativeEngine(ShardFile(shards.shard(rank))) for rank in range(3)]
    tokenizer = open_tokenizer(tmp_path)
    ids = tokenizer.encode("Once upon a time")
    logits, text = run_unsplit(engines, np.array(ids))[-1], []
    for position in range(len(ids), len(ids) + 12):
        text.append(int(logits.argmax()))
        logits = run_unsplit(engines, np.array(text[-1:]), position=position)[-1]
    assert tokenizer.decode(ids + text).startswith("Once upon a time, there was a little girl")


@pytest.mark.parametrize("bits", [4, 8, 32])
@pytest.mark.parametrize("weights", [[1.0], [1.0, 2.0, 1.0], [1.0] * 9])
def test_shards_have_exactly_the_bytes_that_plans_count(bits, weights, tmp_path):
    for share in split(SMALL, weights):
        path = tmp_path / "a.shard"
        header = write_shard(synthetic(SMALL), share, bits, path, digest="d")
        sizes = block_bytes(SMALL, share, bits)
        counted = sizes.weights(SMALL.layers) + sizes.embedding
        assert sum(block.bytes for block in header.blocks) == counted
        assert all(block.offset % 4096 == 0 for block in header.blocks)
        shard = ShardFile(path)
        assert shard.header == header
        shard.verify()
        shard.close()


def test_conversion_repeats_byte_for_byte(tmp_path):
    first = one_shard(tmp_path).read_bytes()
    assert one_shard(tmp_path).read_bytes() == first


def test_a_failed_conversion_leaves_nothing(tmp_path):
    class Broken(type(synthetic(SMALL))):
        def rows(self, name, start, stop):
            values = super().rows(name, start, stop)
            return values * np.nan if name == "layers.2.up" else values

    (share,) = split(SMALL, [1.0])
    with pytest.raises(ModelError, match=r"layers\.2\.up"):
        write_shard(Broken(SMALL), share, 4, tmp_path / "x.shard", digest="d")
    assert list(tmp_path.iterdir()) == []


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_damaged_shards_are_refused(data, tmp_path_factory):
    path = one_shard(tmp_path_factory.mktemp("shard"))
    content = bytearray(path.read_bytes())
    header_or_all = st.integers(0, 4000) | st.integers(0, len(content) - 1)
    at = data.draw(header_or_all)
    content[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content[: data.draw(st.sampled_from([len(content), 9, at]))])
    header = int.from_bytes(content[8:16], "little") + 48
    try:
        shard = ShardFile(path)
    except ModelError as error:
        assert error.code == "E224"  # noqa: PT017
        assert f"rm {path}" in error.hints[0]  # noqa: PT017
        return
    with contextlib.closing(shard):
        if header <= at < shard.header.blocks[0].offset:
            shard.verify()  # unused bytes between header and blocks
        else:
            with pytest.raises(ModelError, match=r"damaged|differs"):
                shard.verify()


@pytest.mark.parametrize(
    "change",
    [
        {"format": 1},
        {"bits": 3},
        {"share": {}},
        {"share": {"rank": 7, "ranks": 2}},
        {"blocks": []},
        {"blocks": [{"name": "resident", "offset": 0, "bytes": 1 << 62, "sha256": ""}]},
        {"model": {"hidden": 1 << 60}},
    ],
)
def test_hostile_headers_with_a_right_digest_are_refused(change, tmp_path):
    path = one_shard(tmp_path)
    content = path.read_bytes()
    length = int.from_bytes(content[8:16], "little")
    header = json.loads(content[48 : 48 + length])
    for key, value in change.items():
        header[key] = {**header[key], **value} if value and isinstance(value, dict) else value
    text = json.dumps(header).encode()
    start = b"TESSERA1" + len(text).to_bytes(8, "little") + hashlib.sha256(text).digest()
    path.write_bytes((start + text).ljust(len(content), b"\0"))
    with pytest.raises(ModelError) as caught:
        ShardFile(path)
    assert caught.value.code == "E224"


def test_a_shard_of_another_version_says_so(tmp_path):
    path = one_shard(tmp_path)
    text = json.dumps({"format": 1}).encode()
    start = b"TESSERA1" + len(text).to_bytes(8, "little") + hashlib.sha256(text).digest()
    path.write_bytes(start + text)
    with pytest.raises(ModelError, match="format 1, this version reads 2"):
        ShardFile(path)


@pytest.mark.parametrize("share_of_weights", [0.9, 0.5, 0.36])
def test_streamed_weights_give_the_tokens_of_pinned_ones(share_of_weights, tmp_path):
    path, tokens = one_shard(tmp_path), tokens_of(SMALL, 6)
    pinned = NativeEngine(ShardFile(path))
    expected = run_unsplit([pinned], tokens)
    cap = pinned.memory_bytes - int(pinned.residency.bytes * (1 - share_of_weights))
    streamed = NativeEngine(ShardFile(path), EngineOptions(memory=cap))
    assert streamed.memory_bytes <= cap
    assert 0 < streamed.residency.streamed_bytes <= pinned.residency.bytes
    for _ in range(4):
        np.testing.assert_array_equal(run_unsplit([streamed], tokens), expected)
        sums = [engine.feed_forward(1, engine.embed(tokens)) for engine in (streamed, pinned)]
        np.testing.assert_array_equal(*map(array_of, sums))
    streamed.close()
    pinned.close()


def test_too_little_memory_is_an_error_with_numbers(tmp_path):
    path = one_shard(tmp_path)
    with pytest.raises(FitError) as caught:
        NativeEngine(ShardFile(path), EngineOptions(memory=1 << 16))
    assert caught.value.numbers["needed"] > caught.value.numbers["available"]


@pytest.mark.parametrize("memory", [None, 330_000])
def test_a_block_that_rots_on_disk_is_noticed_when_it_is_read(memory, tmp_path):
    path = one_shard(tmp_path, 8)
    shard = ShardFile(path)
    with path.open("r+b") as file:
        file.seek(shard.blocks["layers.2.feed_forward"].offset + 77)
        file.write(b"rot")
    with pytest.raises(ModelError, match=r"layers\.2\.feed_forward"):
        run_unsplit([NativeEngine(shard, EngineOptions(memory=memory))], np.array([1]))


def test_a_failure_of_the_reader_is_an_error_not_a_hang(tmp_path, monkeypatch):
    path = one_shard(tmp_path, 8)
    monkeypatch.setattr("runtimes.cluster.memory.Ring._load", None)  # any failure of the thread
    engine = NativeEngine(ShardFile(path), EngineOptions(memory=330_000))
    with pytest.raises(TesseraError, match="reading ahead failed"):
        run_unsplit([engine], np.array([1]))
    engine.close()


def test_sparse_shards_hold_any_model_on_no_disk(tmp_path):
    config = ModelConfig("llama", 1024, 4096, 4, 16, 4, 64, 3200, 128)
    share = split(config, [1.0, 1.0])[0]
    path = tmp_path / "sparse.shard"
    write_sparse_shard(config, share, 4, path, digest="d")
    assert path.stat().st_size > 10 << 20
    assert path.stat().st_blocks * 512 < 1 << 20
    engine = NativeEngine(ShardFile(path))
    assert not array_of(engine.logits(Rows.empty(1, 1024))).any()
    engine.close()


def test_the_opener_counts_the_process_and_its_other_engines(tmp_path):
    path, opener = one_shard(tmp_path), EngineOpener()
    first = opener(path, session())
    limit = resident_set() + RESERVE + (4 << 20)
    second = opener(path, session(limit))
    assert second.memory_bytes <= 4 << 20
    with pytest.raises(FitError):
        opener(path, session(1 << 20))
    first.close()
    second.close()


def test_without_a_compiler_numpy_computes(tmp_path, monkeypatch, caplog):
    path, tokens = one_shard(tmp_path, 32), tokens_of(SMALL, 4)
    native = EngineOpener()(path, session())
    expected = run_unsplit([native], tokens)
    monkeypatch.setenv("TESSERA_CACHE", str(tmp_path / "empty"))
    monkeypatch.setenv("PATH", str(tmp_path))
    opener = EngineOpener()
    fallback, second = opener(path, session()), opener(path, session())
    assert caplog.text.count("computing in numpy, which is slower") == 1  # one line is enough
    second.close()
    np.testing.assert_allclose(run_unsplit([fallback], tokens), expected, rtol=1e-3, atol=1e-4)
    with pytest.raises(ToolError, match="no C compiler"):
        EngineOpener(kernels="portable")(path, session())
    native.close()
    fallback.close()


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"model": {}, "shares": 3}'])
def test_damaged_folders_are_refused(content, tmp_path):
    (tmp_path / "cluster.json").write_text(content)
    with pytest.raises(ModelError) as caught:
        open_shards(tmp_path)
    assert caught.value.code == "E228"


def test_a_folder_that_is_no_model_names_what_would_work(tmp_path):
    with pytest.raises(TesseraError, match=r"config\.json"):
        convert(tmp_path, tmp_path / "out", bits=4)
