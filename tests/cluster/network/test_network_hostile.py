"""A worker survives whatever is thrown at its port, and stays small."""

import contextlib
import logging
import random
import socket
import threading
import time

import numpy as np
import pytest
import zmq
from network_cluster import (
    SMALL,
    WorkerProcess,
    deployment,
    open_engine,
    synthetic,
    workers,
    write_shards,
)

from runtimes.cluster import messages as m
from runtimes.cluster.arrays import array_of
from runtimes.cluster.crew import WorkerAddress
from runtimes.cluster.head import Head
from runtimes.cluster.keys import KeyRing, generate
from runtimes.cluster.transfer import Download, ShardCache, StoredShard
from runtimes.cluster.wire import CHUNK_BYTES, Encoding, Header, Kind
from toolchain.errors import DeviceError, TesseraError, UsageError


def port_of(worker):
    return int(worker.address.rpartition(":")[2])


def still_works(worker, tmp_path, name="after"):
    source, shards = write_shards(tmp_path / name, [1, 1], **synthetic())
    with Head(deployment(source, shards, [worker.at()]), open_engine) as head:
        assert array_of(head.forward(0, [1, 2, 3], 0)).shape == (3, SMALL.vocab)
        assert not head.faults


def random_frame(rng):
    header = bytearray(
        Header(
            rng.choice(list(Kind)),
            epoch=rng.choice([0, 1, rng.getrandbits(32)]),
            step=rng.getrandbits(32),
            block=rng.getrandbits(16),
            slot=rng.getrandbits(16),
            position=rng.getrandbits(32),
            rows=rng.getrandbits(16),
            encoding=rng.choice(list(Encoding)),
        ).pack()
    )
    payload = rng.randbytes(rng.choice([0, 1, 100, 5000]))
    if rng.random() < 0.3:
        payload = m.encode(m.Join("0" * 32, rng.randrange(9)))
    header[28:32] = len(payload).to_bytes(4, "little")
    if rng.random() < 0.5:
        header[rng.randrange(32)] ^= 1 << rng.randrange(8)
    return bytes(header) + payload


def test_fuzzed_frames_neither_crash_nor_bloat_a_worker(tmp_path):
    rng = random.Random(7)
    with workers(tmp_path, 1) as (worker,):
        still_works(worker, tmp_path, "before")
        before = worker.peak_rss()
        context = zmq.Context()
        dealer = context.socket(zmq.DEALER)
        dealer.setsockopt(zmq.LINGER, 0)
        dealer.setsockopt(zmq.SNDTIMEO, 5000)
        dealer.connect(f"tcp://127.0.0.1:{port_of(worker)}")
        for _ in range(3000):
            parts = [random_frame(rng) for _ in range(rng.choice([1, 1, 1, 3]))]
            with contextlib.suppress(zmq.Again):
                dealer.send_multipart(parts)
        dealer.close()
        context.term()
        still_works(worker, tmp_path)
        assert worker.process.poll() is None
        assert worker.peak_rss() - before < 40 << 20
        assert worker.log.stat().st_size < 100_000


def test_strangers_do_not_disturb_a_running_generation(tmp_path):
    rng = random.Random(11)
    source, shards = write_shards(tmp_path / "s", [1, 1, 1], **synthetic(delay_s=0.002))
    orders = [m.Hello("1"), m.Prefetch(1, ()), m.Leave(1), m.Probe(1), m.Connect(1)]
    with workers(tmp_path, 2) as running:
        plan = deployment(source, shards, [w.at() for w in running])
        with Head(plan, open_engine) as head, zmq.Context() as context:
            first = [array_of(head.forward(0, [i], i)) for i in range(12)]
            dealer = context.socket(zmq.DEALER)
            dealer.setsockopt(zmq.LINGER, 0)
            for worker in running:
                dealer.connect(f"tcp://127.0.0.1:{port_of(worker)}")
            for i in range(12):
                for _ in range(20):
                    body = m.encode(rng.choice(orders))
                    junk = Header(Kind.CONTROL, length=len(body)).pack() + body
                    dealer.send(rng.choice([junk, random_frame(rng)]))
                np.testing.assert_array_equal(array_of(head.forward(0, [i], i)), first[i])
            assert not head.faults
            dealer.close()


def test_raw_bytes_and_huge_frames_are_dropped(tmp_path):
    with workers(tmp_path, 1) as (worker,):
        still_works(worker, tmp_path, "before")
        before = worker.peak_rss()
        rng = random.Random(3)
        for size in (0, 1, 10, 64, 1000, 100_000):
            target = ("127.0.0.1", port_of(worker))
            with contextlib.suppress(OSError), socket.create_connection(target) as connection:
                connection.sendall(rng.randbytes(size))
        context = zmq.Context()
        dealer = context.socket(zmq.DEALER)
        dealer.setsockopt(zmq.LINGER, 0)
        dealer.connect(f"tcp://127.0.0.1:{port_of(worker)}")
        dealer.send(bytes(64 << 20))
        time.sleep(0.3)
        dealer.close()
        context.term()
        still_works(worker, tmp_path)
        assert worker.peak_rss() - before < 40 << 20


def test_hostile_assignments_are_refused(tmp_path):
    with workers(tmp_path, 1) as (worker,):
        context = zmq.Context()
        dealer = context.socket(zmq.DEALER)
        dealer.setsockopt(zmq.LINGER, 0)
        dealer.connect(f"tcp://127.0.0.1:{port_of(worker)}")
        good = m.Assign(
            epoch=1,
            session="0" * 32,
            device=1,
            members=(m.Member("", "", (0,)), m.Member("x", "", (1,))),
            topology="mesh",
            encoding=1,
            hidden=64,
            max_rows=16,
            slots=1,
            capacity=64,
            kv="f32",
            max_ram=0,
            shards=(m.ShardInfo(1, "0" * 64, 10),),
        )
        bad = {
            "device": 0,
            "members": (),
            "topology": "ring",
            "encoding": 77,
            "hidden": 1 << 50,
            "max_rows": 1 << 40,
            "slots": 1 << 40,
            "kv": "../x",
            "shards": (),
        }
        for name, value in bad.items():
            body = m.encode(m.Assign(**{**vars(good), name: value}))
            dealer.send(Header(Kind.CONTROL, length=len(body)).pack() + body)
        body = m.encode(good)  # sound, but nobody has that shard
        dealer.send(Header(Kind.CONTROL, length=len(body)).pack() + body)
        assert dealer.poll(3000)
        answer = m.decode(dealer.recv()[32:])
        assert (answer.code, answer.what[:20]) == ("E525", "the shard of rank 1 ")
        dealer.close()
        context.term()
        still_works(worker, tmp_path)


def test_port_in_use_is_one_clear_line(tmp_path):
    from runtimes.cluster.worker import Worker, WorkerOptions

    with workers(tmp_path, 1) as (worker,):
        taken = f"127.0.0.1:{port_of(worker)}"
        with pytest.raises(DeviceError, match=f"cannot listen on {taken}") as caught:
            Worker(WorkerOptions(taken, tmp_path / "c"), open_engine)
        assert (caught.value.exit_code, caught.value.code) == (5, "E526")


def test_nobody_listening_is_one_clear_line(tmp_path):
    source, shards = write_shards(tmp_path / "s", [1, 1], **synthetic())
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(DeviceError, match=f"no answer from {address}") as caught:
        Head(deployment(source, shards, [WorkerAddress(address)]), open_engine)
    assert caught.value.exit_code == 5


def test_wrong_shard_is_named_on_both_sides(tmp_path):
    source, shards = write_shards(tmp_path / "s", [1, 1, 1], **synthetic())
    _, other = write_shards(tmp_path / "o", [1, 1], **synthetic())
    with workers(tmp_path, 2) as running:
        mixed = (shards[0], other[1], shards[2])
        with pytest.raises(DeviceError, match="wrong shard") as caught:
            Head(deployment(source, mixed, [w.at() for w in running]), open_engine)
        assert caught.value.where == f"worker {running[0].address}"
        assert "wrong shard" in running[0].log.read_text()


def test_key_of_a_stranger_is_refused_and_logged(tmp_path):
    keys = {name: generate(name, tmp_path / "keys") for name in ("head", "one", "two")}
    generate("stranger", tmp_path / "elsewhere")
    source, shards = write_shards(tmp_path / "s", [1, 1, 1], **synthetic())
    first = WorkerProcess(tmp_path / "c1", key=keys["one"][1])
    second = WorkerProcess(tmp_path / "c2", key=keys["two"][1])
    try:
        ring = KeyRing.load(keys["head"][1])
        named = {name: public for public, name in ring.accepted.items()}
        addresses = [first.at(key=named["one"]), second.at(key=named["two"])]
        with Head(deployment(source, shards, addresses), open_engine, keys=ring) as head:
            assert array_of(head.forward(0, [1, 2], 0)).shape == (2, SMALL.vocab)
        stranger = KeyRing.load(tmp_path / "elsewhere" / "stranger.key_secret")
        trusting = KeyRing(stranger.name, stranger.public, stranger.secret, ring.accepted)
        with pytest.raises(DeviceError, match="refused the connection") as caught:
            Head(deployment(source, shards, addresses), open_engine, keys=trusting)
        assert caught.value.code == "E523"
        assert f"refused a peer: its key {stranger.public[:8]}" in first.log.read_text()
        with pytest.raises(TesseraError):  # no key at all
            Head(deployment(source, shards, [first.at(), second.at()]), open_engine)
        assert "refused a peer: it has no key" in first.log.read_text()
        wrong = [first.at(key=named["two"]), second.at(key=named["two"])]
        with pytest.raises(DeviceError, match="refused the connection"):
            Head(deployment(source, shards, wrong), open_engine, keys=ring)
        assert first.log.read_text().count("refused a peer: it has no key") >= 2
    finally:
        first.close()
        second.close()


def test_keys_on_disk(tmp_path, caplog):
    public, secret = generate("pi", tmp_path)
    assert secret.stat().st_mode & 0o777 == 0o600
    assert KeyRing.load(secret).accepted == {public.read_text().strip(): "pi"}
    with pytest.raises(UsageError, match="a key of that name exists"):
        generate("pi", tmp_path)
    with pytest.raises(UsageError, match="not a name"):
        generate("../pi", tmp_path)
    secret.chmod(0o644)
    with pytest.raises(UsageError, match="others may read"):
        KeyRing.load(secret)
    secret.chmod(0o600)
    public.write_text("nonsense")
    with pytest.raises(UsageError, match="holds no CURVE key"):
        KeyRing.load(secret)
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


def test_interrupted_download_goes_on_where_it_stopped(tmp_path):
    source, shards = write_shards(tmp_path / "s", [1, 1], padding=3 * CHUNK_BYTES, **synthetic())
    with workers(tmp_path, 1) as (worker,):
        half = shards[1].chunk(0) + shards[1].chunk(1) + b"torn"
        (worker.cache / f"{shards[1].info.digest}.part").write_bytes(half)
        with Head(deployment(source, shards, [worker.at()]), open_engine) as head:
            assert head.sent_bytes == shards[1].info.size - 2 * CHUNK_BYTES


def test_corrupt_cache_is_fetched_again(tmp_path):
    source, shards = write_shards(tmp_path / "s", [1, 1], **synthetic())
    with workers(tmp_path, 1) as (worker,):
        cached = worker.cache / f"{shards[1].info.digest}.shard"
        cached.write_bytes(b"\0" * shards[1].info.size)
        with Head(deployment(source, shards, [worker.at()]), open_engine) as head:
            assert head.sent_bytes == shards[1].info.size


def test_corrupt_download_is_removed(tmp_path):
    path = tmp_path / "rank"
    path.write_bytes(b"x" * 1000)
    info = StoredShard.of(1, path).info
    cache = ShardCache(tmp_path / "cache")
    download = Download(cache, info)
    download.accept(0, memoryview(b"y" * 1000))
    with pytest.raises(DeviceError, match="wrong SHA-256") as caught:
        download.finish()
    assert caught.value.code == "E525"
    assert not cache.part(info).exists()
    assert not cache.has(info)


def test_a_worker_of_another_version_is_named(tmp_path):
    source, shards = write_shards(tmp_path / "s", [1, 1], **synthetic())
    context = zmq.Context()
    router = context.socket(zmq.ROUTER)
    router.setsockopt(zmq.LINGER, 0)
    port = router.bind_to_random_port("tcp://127.0.0.1")

    def answer():
        identity, frame = router.recv_multipart()
        router.send_multipart([identity, frame[:2] + b"\x63" + frame[3:]])

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        plan = deployment(source, shards, [WorkerAddress(f"127.0.0.1:{port}")])
        with pytest.raises(DeviceError, match="peer speaks wire version 99") as caught:
            Head(plan, open_engine)
        assert (caught.value.code, caught.value.exit_code) == ("E522", 5)
    finally:
        thread.join()
        router.close()
        context.term()
