"""``plan.json``: the way there and back, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.plan.networks import random_network
from toolchain.errors import UsageError
from toolchain.plan import Plan, plan_from_json, plan_layers, plan_to_json, read_plan, write_plan


@pytest.fixture
def plan() -> Plan:
    return plan_layers(random_network(np.random.default_rng(3)))


def test_there_and_back(plan: Plan, tmp_path: Path) -> None:
    write_plan(plan, tmp_path / "plan.json")
    assert read_plan(tmp_path / "plan.json") == plan
    assert plan_to_json(plan_from_json(plan_to_json(plan))) == plan_to_json(plan)
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: v.update(schema_version=9), "schema_version is 9"),
        (lambda v: v.update(arena_byte=9), "unknown key arena_byte. Did you mean arena_bytes?"),
        (lambda v: v.pop("isa"), "missing key isa"),
        (lambda v: v.update(arena_bytes="9"), "arena_bytes must be an integer"),
        (lambda v: v.update(macs=True), "macs must be an integer"),
        (lambda v: v["slots"][0].update(offset=1.5), "slots[0].offset must be an integer"),
        (lambda v: v["slots"][0].update(tensors="x"), "slots[0].tensors must be a list"),
        (lambda v: v["slots"].append(3), "must be an object"),
        (lambda v: v["stages"][0].update(kind="magic"), "stages[0].kind must be one of layer"),
        (lambda v: v["stages"][0].pop("node"), "missing key stages[0].node"),
        (lambda v: v.update(stages={}), "stages must be a list"),
    ],
)
def test_a_malformed_plan_is_refused(plan: Plan, change, said) -> None:
    values = json.loads(plan_to_json(plan))
    change(values)
    with pytest.raises(UsageError) as caught:
        plan_from_json(json.dumps(values))
    assert caught.value.code == "E120"
    assert said in caught.value.what


@pytest.mark.parametrize("text", ["", "[]", "3", "{", "[" * 100_000, '{"schema_version": 1}'])
def test_what_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"JSON|schema_version|missing"):
        plan_from_json(text)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        read_plan(tmp_path / "none.json")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\xfd")
    with pytest.raises(UsageError, match="cannot read"):
        read_plan(tmp_path / "bytes.json")
