"""Plans are fast, fit, and prove themselves."""

import contextlib
import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.cluster.check import check_plan
from toolchain.cluster.config import ModelConfig
from toolchain.cluster.devices import Device, Devices, Link
from toolchain.cluster.plan import ClusterPlan, PlanOptions
from toolchain.cluster.planner import make_plan
from toolchain.errors import FitError, TesseraError, UsageError

TINY_LLAMA = ModelConfig("llama", 2048, 5632, 22, 32, 4, 64, 32000, 2048)
LLAMA_70B = ModelConfig("llama", 8192, 28672, 80, 64, 8, 128, 32000, 4096)
NET = Link(1e-3, 12.5e6)


def cluster(*devices, link=NET):
    return Devices(link, tuple(Device(f"d{i}", **more) for i, more in enumerate(devices)))


def test_two_devices_are_slower_than_one_on_this_link_and_the_plan_says_so():
    plan = make_plan(TINY_LLAMA, cluster({}, {}, {}, {}))
    check_plan(plan)
    assert len(plan.ranks) == 1
    assert plan.advice.startswith("use one device: ")
    assert {other.devices for other in plan.alternatives} == {1, 2, 3, 4}
    assert len(plan.spares) == 3
    two = make_plan(TINY_LLAMA, cluster({}, {}), PlanOptions(count=2))
    assert "; one device would take" in two.advice


def test_slow_processors_are_worth_splitting_over():
    slow = {"weights_per_s": 2e9, "macs_per_s": 4e9}
    plan = make_plan(TINY_LLAMA, cluster(slow, slow, slow, slow))
    check_plan(plan)
    assert len(plan.ranks) == 4
    assert plan.advice.startswith("use 4 devices")


def test_70b_fits_four_small_devices():
    """The head in 1.0 GB and workers in 0.5 GB; the rest streams from disk."""
    head, worker = {"ram": 1 << 30}, {"ram": 512 << 20}
    options = PlanOptions(context=512, count=4)
    plan = make_plan(LLAMA_70B, cluster(head, worker, worker, worker), options)
    check_plan(plan)
    assert [rank.bytes <= rank.device.ram for rank in plan.ranks] == [True] * 4
    assert plan.prediction.token_s == plan.prediction.disk_s


def test_uneven_devices_get_uneven_shares():
    fast, slow = {"weights_per_s": 9e9}, {"weights_per_s": 3e9}
    plan = make_plan(TINY_LLAMA, cluster(fast, slow), PlanOptions(count=2))
    columns = [len(rank.share.ffn) for rank in plan.ranks]
    assert columns[0] == pytest.approx(3 * columns[1], rel=0.05)


def test_a_slow_link_keeps_the_vocabulary_on_the_head():
    options = PlanOptions(count=2)
    slow = make_plan(TINY_LLAMA, cluster({}, {}), options)
    assert len(slow.ranks[1].share.vocab) == 0
    fast = make_plan(TINY_LLAMA, cluster({}, {}, link=Link(20e-6, 1.25e9)), options)
    assert len(fast.ranks[1].share.vocab) > 0


def test_too_little_memory_is_said_in_numbers():
    with pytest.raises(FitError, match="its share needs") as caught:
        make_plan(LLAMA_70B, cluster({"ram": 64 << 20}))
    error = caught.value
    assert (error.code, error.exit_code, error.where) == ("E312", 3, "d0")
    assert error.numbers["over"] == error.numbers["needed"] - (64 << 20)


devices = st.lists(
    st.fixed_dictionaries(
        {
            "ram": st.one_of(st.just(0), st.integers(60 << 20, 1 << 30)),
            "weights_per_s": st.floats(1e8, 1e11),
            "disk_per_s": st.floats(1e6, 1e10),
        }
    ),
    min_size=1,
    max_size=6,
)


@given(
    devices,
    st.sampled_from(["int8", "f16", "f32", "fixed"]),
    st.sampled_from([4, 8, 32]),
    st.integers(1, 2048),
)
@settings(max_examples=40, deadline=None)
def test_every_plan_is_proved_and_survives_json(parts, payload, bits, context):
    config = dataclasses.replace(TINY_LLAMA, layers=3)
    options = PlanOptions(bits=bits, payload=payload, context=context)
    try:
        plan = make_plan(config, cluster(*parts), options)
    except FitError:
        return
    check_plan(plan)
    again = ClusterPlan.from_json(plan.to_json())
    assert again == plan
    assert plan.prediction.token_s == min(other.token_s for other in plan.alternatives)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("ranks", 0, "residency", "pinned_bytes"), 1),
        (("ranks", 0, "residency", "streamed"), [3, 2]),
        (("ranks", 0, "fixed_bytes"), 10),
        (("ranks", 0, "device", "ram"), 1000),
        (("ranks", 0, "share", "ffn"), {"start": 0, "stop": 32}),
    ],
)
def test_the_checker_finds_what_was_tampered_with(path, value):
    values = json.loads(make_plan(TINY_LLAMA, cluster({}, {}), PlanOptions(count=2)).to_json())
    place = values
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(FitError) as caught:
        check_plan(ClusterPlan.from_json(json.dumps(values)))
    assert caught.value.code in ("E310", "E313")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 2}', '{"schema": 1, "topology": []}'])
def test_other_json_is_no_plan(text):
    with pytest.raises(UsageError, match="not a cluster plan") as caught:
        ClusterPlan.from_json(text)
    assert caught.value.code == "E147"


def leaves(value, path=()):
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, child in items:
        if isinstance(child, dict | list) and child:
            yield from leaves(child, (*path, key))
        else:
            yield (*path, key)


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_a_plan_with_any_strange_value_is_refused_or_proved(data):
    values = json.loads(PLAN.to_json())
    path = data.draw(st.sampled_from(sorted(leaves(values), key=str)))
    place = values
    for key in path[:-1]:
        place = place[key]
    strange = [None, "x", -1, 0, 1e99, float("nan"), [], {}, 1 << 80, True, [7], "8"]
    place[path[-1]] = data.draw(st.sampled_from(strange))
    with contextlib.suppress(TesseraError):
        check_plan(ClusterPlan.from_json(json.dumps(values)))


PLAN = make_plan(
    dataclasses.replace(TINY_LLAMA, layers=2), cluster({"ram": 1 << 30}, {}), PlanOptions(count=2)
)
