import dataclasses

import pytest
from cluster_models import configs, device_weights
from hypothesis import given, settings

from toolchain.cluster.config import ModelConfig
from toolchain.cluster.split import Share, Span, check_split, split
from toolchain.errors import FitError, TesseraError, UsageError

LLAMA_70B = ModelConfig("llama", 8192, 28672, 80, 64, 8, 128, 32000, 4096)


@given(configs(), device_weights)
@settings(max_examples=200, deadline=None)
def test_every_split_is_the_model(config, weights):
    shares = split(config, weights)
    check_split(config, shares)
    assert [Share.from_dict(share.as_dict()) for share in shares] == list(shares)


def test_shares_follow_speed():
    slow, fast = split(LLAMA_70B, [1.0, 3.0])
    assert (len(slow.kv_heads), len(fast.kv_heads)) == (2, 6)
    assert len(fast.ffn) == 3 * len(slow.ffn)


@given(configs(), device_weights)
@settings(max_examples=100, deadline=None)
def test_no_single_move_makes_the_slowest_rank_faster(config, weights):
    shares = split(config, weights)
    unit = config.group if len(weights) <= config.kv_heads else 1
    times = [len(s.heads) / w for s, w in zip(shares, weights, strict=True)]
    slowest = max(range(len(times)), key=times.__getitem__)
    others = [(len(s.heads) + unit) / w for s, w in zip(shares, weights, strict=True)]
    del others[slowest]
    assert all(time >= times[slowest] - 1e-9 for time in others)


def test_heads_are_replicated_when_ranks_outnumber_them():
    config = dataclasses.replace(LLAMA_70B, heads=8, kv_heads=2)
    shares = split(config, [1.0] * 4)
    assert [share.kv_heads for share in shares] == [Span(0, 1), Span(0, 1), Span(1, 2), Span(1, 2)]


@pytest.mark.parametrize(
    "change",
    [
        {"heads": Span(0, 16)},
        {"ffn": Span(0, 1 << 20)},
        {"kv_heads": Span(0, 8)},
        {"vocab": Span(5, 4)},
        {"rank": 1},
        {"ranks": 3},
    ],
)
def test_the_checker_refuses_what_is_not_the_model(change):
    first, second = split(LLAMA_70B, [1.0, 1.0])
    with pytest.raises(FitError):
        check_split(LLAMA_70B, (dataclasses.replace(first, **change), second))


@pytest.mark.parametrize("weights", [[], [0.0], [float("nan")], [-1.0, 1.0], [1.0] * 257])
def test_bad_weights_are_refused(weights):
    with pytest.raises(UsageError):
        split(LLAMA_70B, weights)


@pytest.mark.parametrize(
    "change",
    [
        {"hidden": 0},
        {"hidden": 1 << 40},
        {"layers": True},
        {"heads": 7},
        {"head_dim": 3},
        {"vocab": -5},
        {"norm_eps": float("nan")},
        {"rope_theta": 0.0},
        {"rope_style": "diagonal"},
        {"window": -1},
        {"eos": (999999,)},
        {"unknown": 1},
        {"rope_scaling": {"kind": "llama3", "factor": 0.0}},
    ],
)
def test_hostile_configs_are_refused(change):
    with pytest.raises(TesseraError, match=r"config|head_dim"):
        ModelConfig.from_dict({**LLAMA_70B.as_dict(), **change})


def test_config_survives_json():
    assert ModelConfig.from_dict(LLAMA_70B.as_dict()) == LLAMA_70B
