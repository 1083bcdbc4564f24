"""Figures of the bench command are those of its clock and of real generations."""

import json

import pytest
from generation_models import small_model, write_small_shards

from runtimes.cluster.bench import Measurement, Run, measure
from runtimes.cluster.open_engine import engine_opener
from runtimes.cluster.step import EngineRequest
from runtimes.cluster.timing import Clock
from runtimes.cluster.unsplit import run_unsplit
from toolchain.cli.main import main

REQUEST = EngineRequest(slots=1, capacity=64, reproducible=False, kv="f32", max_ram=0)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return write_small_shards(tmp_path_factory.mktemp("bench"), weights=(1.0, 1.0))


def test_rounds_generate_the_same_tokens_with_and_without_guesses():
    result = measure(small_model(3), [1, 259, 260] * 3, 30, rounds=2, guesses=8, clock=Clock())
    assert {run.tokens for run in (*result.plain, *result.guessed)} == {result.plain[0].tokens}
    assert all(len(run.passes_s) == 29 for run in result.plain)
    assert all(len(run.passes_s) == 29 - run.accepted for run in result.guessed)
    assert all(run.drafted == 0 for run in result.plain)


def test_figures_follow_from_the_runs():
    slow = Run(1.0, 8.0, (4.0, 4.0), (1, 2, 3), engine_s=6.0, disk_s=2.0, drafted=0, accepted=0)
    fast = Run(3.0, 2.0, (2.0,), (1, 2, 3), engine_s=1.0, disk_s=0.0, drafted=2, accepted=1)
    result = Measurement((slow,), (fast,))
    assert result.first_token_s == 2.0
    assert result.token_s == 4.0
    assert result.speedup == 4.0
    assert fast.tokens_per_s == 1.0
    assert result.split() == {"compute_s": 2.0, "disk_s": 1.0, "exchange_s": 1.0}


def test_a_timed_engine_computes_the_same_and_counts(shards):
    clock = Clock()
    plain = [engine_opener()(shards.shard(rank), REQUEST) for rank in (0, 1)]
    timed = [clock.opener(engine_opener())(shards.shard(rank), REQUEST) for rank in (0, 1)]
    expected = run_unsplit(plain, [1, 5, 9])
    assert clock.engine_s == 0
    assert (run_unsplit(timed, [1, 5, 9]) == expected).all()
    assert 0 <= clock.disk_s < clock.engine_s
    for engine in (*plain, *timed):
        engine.close()


def test_the_command_prints_its_figures(shards, capsys):
    arguments = ["cluster", "bench", str(shards.path), "--tokens", "6", "--rounds", "2", "--json"]
    assert main(arguments) == 0
    result = json.loads(capsys.readouterr().out)["result"]
    assert (result["prompt_tokens"], result["tokens"]) == (28, 6)
    assert result["speculation"]["same_tokens"] is True
    assert result["tokens_per_s"] == pytest.approx(1 / result["token_s"])
    assert set(result["per_token"]) == {"compute_s", "disk_s", "exchange_s"}
    assert result["peak_rss"]["head"] > 1 << 20
    assert main(["cluster", "bench", str(shards.path), "--tokens", "6", "--guesses", "0"]) == 0
    assert "with guesses" not in capsys.readouterr().out


def test_more_than_the_context_is_refused(shards, capsys):
    assert main(["cluster", "bench", str(shards.path), "--tokens", "250"]) == 2
    assert "E130" in capsys.readouterr().err
