"""A head with kernels needs no numpy to chat and to measure."""

import json
import subprocess
import sys

import pytest
from generation_models import write_small_shards

BARE = (
    "import sys; sys.modules.update(numpy=None, rich=None);"
    "from toolchain.cli import main; sys.exit(main(sys.argv[1:]))"
)
DEVICE = """
[link]
latency = "1ms"
bandwidth = "100Mbit"
[[device]]
name = "pi"
weights = "5GB/s"
batch = "20GMAC/s"
disk = "0.1GB/s"
block = "40us"
"""


def answer(*program, arguments):
    command = [sys.executable, *program, "cluster", *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])["result"]


@pytest.mark.parametrize(
    "options",
    [
        ["--temperature", "1", "--top-k", "50", "--min-p", "0.01", "--seed", "7"],
        ["--temperature", "0", "--kv", "bfp6"],
    ],
)
def test_a_head_says_the_same_with_and_without_numpy(tmp_path, options):
    shards = write_small_shards(tmp_path, weights=(2.0, 1.0)).path
    arguments = ["chat", shards, "--prompt", "the cat", "--raw", "--max-tokens", "20", *options]
    bare = answer("-c", BARE, arguments=arguments)
    full = answer("-m", "toolchain", arguments=arguments)
    assert bare["text"] == full["text"]
    assert bare["generated_tokens"] == full["generated_tokens"] > 1


@pytest.mark.parametrize("verb", ["bench", "emulate", "plan"])
def test_a_head_measures_and_plans_without_numpy(tmp_path, verb):
    shards = write_small_shards(tmp_path, weights=(1.0, 1.0)).path
    (tmp_path / "cluster.toml").write_text(DEVICE)
    cluster = ["--devices", tmp_path / "cluster.toml"] if verb == "plan" else ["--tokens", "3"]
    result = answer("-c", BARE, arguments=[verb, shards, *cluster])
    assert (result["prediction"] if verb == "plan" else result)["token_s"] > 0
