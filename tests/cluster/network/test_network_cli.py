"""The verbs as a user types them."""

import json
import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from network_cluster import SMALL

from runtimes.cluster.crew import WorkerAddress
from runtimes.cluster.deploy import HeadOptions, open_head
from runtimes.cluster.device import Settings
from runtimes.cluster.formats.synthetic import SyntheticModel
from runtimes.cluster.keys import generate
from runtimes.cluster.shard_folder import ShardFolder, write_index
from runtimes.cluster.shard_writer import write_shard
from toolchain.cli import main
from toolchain.cli.sizes import Size, human
from toolchain.cluster.split import split
from toolchain.errors import TesseraError


def write_raw_model(path):
    """A llama2.c file: hidden 64, feed-forward 96, 2 layers, 4 heads, 2 read, vocabulary 256."""
    layer = 64 * (1 + 64 + 2 * 32 + 64 + 1 + 3 * 96)
    values = np.random.default_rng(0).standard_normal(256 * 64 + 2 * layer + 64 + 2 * 8 * 32)
    header = struct.pack("<7i", 64, 96, 2, 4, 2, 256, 32)
    path.write_bytes(header + values.astype("<f4").tobytes())


def converted(folder, count, bits=4):
    folder.mkdir()
    source = SyntheticModel(SMALL)
    result = ShardFolder(folder, SMALL, bits, split(SMALL, [1.0] * count), "0" * 64)
    for share in result.shares:
        write_shard(source, share, bits, result.shard(share.rank), digest=result.source)
    write_index(result)
    return folder


def test_emulate_runs_a_cluster_and_survives_a_kill(tmp_path, capfd):
    shards = converted(tmp_path / "shards", 3)
    arguments = ["--link", "0.2ms,1Gbit", "--tokens", "8", "--prompt-tokens", "9", "--json"]
    code = main(["cluster", "emulate", str(shards), *arguments, "--fetch", "--kill-after", "4"])
    result = json.loads(capfd.readouterr().out.splitlines()[-1])["result"]
    assert code == 0
    (fault,) = result["faults"]
    assert fault["sent_bytes"] == 0
    sizes = [(shards / f"{rank}-of-3.shard").stat().st_size for rank in (1, 2)]
    assert result["sent_bytes"] == sum(sizes)


def test_device_count_must_be_that_of_the_shards(tmp_path, capsys):
    shards = converted(tmp_path / "shards", 2)
    assert main(["cluster", "emulate", str(shards), "-n", "3"]) == 2
    assert "error[E145]: the shards are cut for 2 devices, not 3" in capsys.readouterr().err


def test_worker_beyond_loopback_needs_keys(capsys):
    assert main(["cluster", "worker", "--listen", "192.0.2.7:9500"]) == 2
    assert "error[E144]" in capsys.readouterr().err


@pytest.mark.parametrize("address", ["foo", "127.0.0.1:99999", ":9500", "127.0.0.1:", "h:-1"])
def test_what_is_no_address_is_not_listened_on(address, capsys):
    assert main(["cluster", "worker", "--listen", address]) == 2
    assert "error[E133]: not the address of a worker" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files")
def test_a_full_disk_is_one_line_and_leaves_nothing_behind(tmp_path):
    write_raw_model(tmp_path / "model.bin")
    command = [sys.executable, "-m", "toolchain", "cluster", "convert", "model.bin", "-o", "out"]
    done = subprocess.run(
        ["sh", "-c", 'ulimit -f 64; "$@"', "sh", *command],  # blocks of 512 bytes
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "error[E109]: file too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "out").glob("*shard*"))


@pytest.mark.skipif(sys.platform == "win32", reason="needs a terminal")
def test_progress_on_a_terminal_needs_nothing_that_a_head_lacks(tmp_path):
    write_raw_model(tmp_path / "model.bin")
    code = (
        "import sys; sys.modules['rich'] = None; from toolchain.cli import main; sys.exit(main())"
    )
    terminal, end = os.openpty()
    done = subprocess.run(
        [sys.executable, "-c", code, "cluster", "convert", "model.bin", "-o", "out"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        stdout=subprocess.PIPE,
        stderr=end,
        text=True,
        check=False,
    )
    os.close(end)
    shown = os.read(terminal, 1 << 16).decode()
    os.close(terminal)
    assert done.returncode == 0
    assert "next: tessera cluster chat out" in done.stdout
    assert "rank 0  layers.1.feed_forward" in shown
    assert shown.endswith("\r\x1b[2K")


def test_an_output_that_cannot_be_written_is_named(tmp_path, capsys):
    write_raw_model(tmp_path / "model.bin")
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "shards"
    assert main(["cluster", "convert", str(tmp_path / "model.bin"), "-o", str(out)]) == 2
    assert f"error[E109]: not a directory\n  at {out}" in capsys.readouterr().err


def test_what_is_no_link_starts_nothing(tmp_path, capfd):
    shards = converted(tmp_path / "shards", 2)
    assert main(["cluster", "emulate", str(shards), "--link", "1ms,0Mbit"]) == 2
    assert capfd.readouterr().err.startswith("error[E142]: not a link: '1ms,0Mbit'")


@pytest.mark.parametrize("key", ["", "=abc", "=" + "x" * 40])
def test_a_key_that_is_not_in_the_folder_is_one_line(tmp_path, key, capsys):
    shards = converted(tmp_path / "shards", 2)
    assert main(["cluster", "keygen", "head", "-o", str(tmp_path)]) == 0
    address, secret = f"127.0.0.1:9{key}", str(tmp_path / "head.key_secret")
    options = ["-w", address, "--key", secret, "--tokens", "2"]
    assert main(["cluster", "bench", str(shards), *options]) == 2
    assert "error[E140]" in capsys.readouterr().err


def test_a_cap_that_is_too_low_says_which_is_enough(tmp_path, capsys):
    shards = converted(tmp_path / "shards", 1)
    bench = ["cluster", "bench", str(shards), "--tokens", "2", "--prompt-tokens", "2"]
    assert main([*bench, "--max-ram", "10M"]) == 3
    said = capsys.readouterr().err
    assert "error[E312]" in said
    enough = re.search(r"--max-ram (\d+M)", said)[1]
    assert main([*bench, "--max-ram", enough]) == 0


@pytest.mark.parametrize("verb", ["plan", "bench"])
def test_a_context_beyond_the_models_is_refused(tmp_path, verb, capsys):
    shards = converted(tmp_path / "shards", 1)
    code = main(["cluster", verb, str(shards), "--context", "100000"])
    assert code == 2
    assert f"made for {SMALL.context} tokens, not 100000" in capsys.readouterr().err


def test_workers_that_do_not_know_each_other_are_named_and_still_end(tmp_path):
    """Every device needs every other one's key; here the second lacks in the first's folder."""
    shards = converted(tmp_path / "shards", 3)
    names = ("head", "one", "two")
    keys = {name: generate(name, tmp_path / name) for name in names}
    for own, other in [("head", "one"), ("head", "two"), ("one", "head"), ("two", "head")]:
        shutil.copy(keys[other][0], tmp_path / own)
    running, addresses = [], []
    try:
        for name in names[1:]:
            cache, secret = str(tmp_path / f"cache-{name}"), str(keys[name][1])
            settings = Settings("127.0.0.1:0", cache, "", 0, secret, 1, json=False, quiet=True)
            process = subprocess.Popen(settings.command(), stdout=subprocess.PIPE, text=True)
            running.append(process)
            port = process.stdout.readline().rpartition(":")[2].strip()
            addresses.append(WorkerAddress(f"127.0.0.1:{port}", keys[name][0].read_text().strip()))
        with pytest.raises(TesseraError, match="is not in the key folder") as caught:
            open_head(shards, addresses, HeadOptions(key=keys["head"][1]))
        assert caught.value.where == f"worker {addresses[0].address}"
        for process in running:
            process.terminate()  # SIGINT is ignored by what a shell started in the background
            assert process.wait(10) == 0
    finally:
        for process in running:
            process.kill()
            process.communicate()


def test_keygen_says_what_to_do(tmp_path, capsys):
    assert main(["cluster", "keygen", "pi", "-o", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "pi.key_secret" in out
    assert "next: tessera cluster worker" in out
    assert main(["cluster", "keygen", "pi", "-o", str(tmp_path)]) == 2


def test_unknown_verb_offers_the_nearest(capsys):
    assert main(["cluster", "emulat"]) == 2
    assert "hint: tessera cluster emulate --help" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "size"), [("600M", 600 << 20), ("1.5g", 3 << 29), ("2GiB", 2 << 30), ("77", 77)]
)
def test_sizes(text, size):
    assert Size().convert(text, None, None) == size
    assert human(size) in ("600.0 MB", "1.50 GB", "2.00 GB", "0.0 MB")


def test_a_cap_below_an_empty_process_is_refused(tmp_path, capfd):
    shards = converted(tmp_path / "shards", 2)
    code = main(["cluster", "emulate", str(shards), "--max-ram", "30M", "--link", "0ms,1Gbit"])
    assert code == 3
    assert "error[E311]" in capfd.readouterr().err


def test_planned_from_profile_to_run(tmp_path, capfd):
    """`plan` writes what `convert --plan` and the head follow."""
    from runtimes.cluster.deploy import options_of, workers_of
    from toolchain.cluster.plan import load_plan

    shards = converted(tmp_path / "shards", 1)
    (tmp_path / "cluster.toml").write_text(
        '[link]\nlatency = "1ms"\nbandwidth = "100Mbit"\n'
        '[[device]]\nram = "1G"\n[[device]]\naddress = "h:1"\n[[device]]\naddress = "g:1"\n'
    )
    plan = tmp_path / "plan.json"
    arguments = ["--devices", str(tmp_path / "cluster.toml"), "--count", "2", "-o", str(plan)]
    assert main(["cluster", "plan", str(shards), *arguments, "--context", "99"]) == 0
    assert "one device would take" in capfd.readouterr().out
    loaded = load_plan(plan)
    assert [worker.address for worker in workers_of(loaded)] == ["h:1", "g:1"]
    options = options_of(loaded)
    assert (options.capacity, options.max_ram, options.worker_ram) == (99, 1 << 30, (0, 0))
    assert main(["cluster", "plan", str(shards), *arguments[:2], "--count", "9"]) == 2
