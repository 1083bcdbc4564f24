"""Damaged plans: whatever was done to ``plan.json``, it is refused with a reason or is right."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from boards import Board, load_board
from tests.conftest import ROOT
from tests.plan.networks import random_bottlenecks, random_map_network, random_network
from tests.plan.test_banks import board_of, two_large_maps
from tests.plan.test_states import recurrent
from toolchain.cli import main
from toolchain.errors import TesseraError
from toolchain.ir import Graph
from toolchain.plan import check_plan, pareto, plan_from_json, plan_model, plan_to_json

BOARD = load_board("nucleo_f446re")
NUMBERS = (-1, 0, 1, 3, 7, 4096, 2**31, 2**62, 10**40)


@cache
def plans() -> list[tuple[Graph, Board, str]]:
    """Return plans of all kinds: layers, streams, strips, states, several banks."""
    found = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        for graph in (random_network(rng), random_map_network(rng), random_bottlenecks(rng)):
            front = pareto(graph, BOARD, fed=seed % 2 == 0)
            found += [(graph, BOARD, plan_to_json(plan)) for plan in (front[0], front[-1])]
    state = recurrent(np.random.default_rng(0))
    found.append((state, BOARD, plan_to_json(plan_model(state, BOARD))))
    board = board_of("cortex-m7", {"MAIN": 1 << 16, "TCM": 1 << 15, "S2": 1 << 15})
    large = two_large_maps(16)
    found.append((large, board, plan_to_json(plan_model(large, board))))
    return found


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every entry as its container and key."""
    keys = list(value) if isinstance(value, dict) else range(len(value))
    for key in keys:
        yield value, key
        if isinstance(value[key], dict | list):
            yield from places(value[key])


def damage(values: Any, names: list[str], rng: np.random.Generator) -> None:
    """Change one thing anywhere."""
    choices = list(places(values))
    where, key = choices[int(rng.integers(len(choices)))]
    old = where[key]
    if isinstance(old, list) and len(old) > 1 and rng.random() < 0.8:
        i, j = (int(n) for n in rng.integers(len(old), size=2))
        change = rng.integers(3)
        if change == 0:
            old[i], old[j] = old[j], old[i]
        elif change == 1:
            del old[i]
        else:
            old.insert(i, old[j])
    elif isinstance(old, int):
        near = old + int(rng.integers(-64, 65))
        where[key] = near if rng.random() < 0.5 else NUMBERS[int(rng.integers(len(NUMBERS)))]
    elif isinstance(old, str) and rng.random() < 0.8:
        where[key] = names[int(rng.integers(len(names)))]
    elif rng.random() < 0.5 and isinstance(where, dict):
        del where[key]
    else:
        where[key] = [None, True, 1.5, "", [], {}, [[]], "x" * 300][int(rng.integers(8))]


@pytest.mark.parametrize("seed", range(2))
def test_random_damage_is_refused_or_harmless(seed: int) -> None:
    rng = np.random.default_rng(seed)
    refusals = []
    for graph, board, text in plans():
        names = [*graph.tensors, *(node.name for node in graph.nodes), "arena", "dsp", "", "no"]
        for _ in range(25):
            values = json.loads(text)
            for _ in range(int(rng.integers(1, 3))):
                damage(values, names, rng)
            try:
                check_plan(graph, plan_from_json(json.dumps(values)), board)
            except TesseraError as error:
                refusals.append(error)
    assert {error.code for error in refusals} == {"E120", "E303", "E305"}
    assert max(len(str(error)) for error in refusals) < 2000
    assert len(refusals) > 300


DIGITS = ROOT / "examples/digits/digits.tflite"


@cache
def digits_plan() -> str:
    """Return a plan of the digits network that streams its first layers."""
    from toolchain.cli.pipeline import load_graph
    from toolchain.cli.report import Reporter

    return plan_to_json(plan_model(load_graph(DIGITS, Reporter(quiet=True)), BOARD))


def slot_of(values: Any, kind: str) -> Any:
    return next(slot for slot in values["slots"] if slot["name"].endswith(kind))


def overlap(values: Any) -> None:
    """Put every slot to the start of the arena."""
    for slot in values["slots"]:
        slot["offset"] = 0


def missing_row(values: Any) -> None:
    """Let a ring keep one row less."""
    store = next(s for stage in values["stages"] for s in stage.get("stores", []) if s["ring"] > 1)
    store["ring"] -= 1


def leave_arena(values: Any) -> None:
    slot_of(values, ".ring")["offset"] = values["arena_bytes"] - 8


def wrong_order(values: Any) -> None:
    values["stages"].reverse()


def unknown_node(values: Any) -> None:
    values["stages"][-1]["node"] = "conv_99"


def unknown_region(values: Any) -> None:
    values["slots"][0]["region"] = "*/ DTCM"


def large_number(values: Any) -> None:
    values["slots"][0]["size"] = 10**30


def negative_number(values: Any) -> None:
    values["slots"][0]["offset"] = -4


def free_work(values: Any) -> None:
    values["macs"] -= 1


def lost_slot(values: Any) -> None:
    values["slots"] = values["slots"][1:]


def short_life(values: Any) -> None:
    values["slots"][0]["last"] = values["slots"][0]["first"] - 1


def other_cpu(values: Any) -> None:
    values["isa"] = "mve"


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (overlap, 3, r'bytes \d+ to \d+ of "[^"]+" are overwritten by "[^"]+" while'),
        (
            missing_row,
            3,
            r'bytes \d+ to \d+ of "[^"]+\[\d+\]" are overwritten by "[^"]+\[\d+\]" while',
        ),
        (leave_arena, 3, r"bytes \d+ to \d+ leave the arena of \d+ bytes\n  at slot"),
        (wrong_order, 3, r'reads "[^"]+" before it is made'),
        (unknown_node, 3, "no such node, or it is executed twice"),
        (unknown_region, 3, r'nucleo_f446re has no region "\*/ DTCM", only "arena"'),
        (large_number, 2, r"slots\[0\].size is too large"),
        (negative_number, 3, r"bytes -4 to \d+ leave the arena"),
        (free_work, 3, r"executes \d+ multiply-accumulates"),
        (lost_slot, 3, "no slot holds this"),
        (other_cpu, 3, r'nucleo_f446re has the instruction set "dsp"\n  at isa "mve"'),
        (short_life, 3, "is used in step 0, but lives from 0 to -1"),
    ],
)
def test_compile_refuses_a_damaged_plan_with_its_reason(
    change: Callable[[Any], None],
    code: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    values = json.loads(digits_plan())
    change(values)
    (tmp_path / "plan.json").write_text(json.dumps(values))
    words = ["compile", DIGITS, "--board", BOARD.id, "--plan", tmp_path / "plan.json"]
    assert main([*map(str, words), "-o", str(tmp_path / "build")]) == code
    error = capsys.readouterr().err
    assert re.search(said, error), error
    assert "Traceback" not in error
    assert not (tmp_path / "build").exists()


def test_compile_takes_the_plan_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(digits_plan())
    words = ["compile", DIGITS, "--board", BOARD.id, "--plan", tmp_path / "plan.json"]
    assert main([*map(str, words), "-o", str(tmp_path / "build"), "--quiet"]) == 0
    assert (tmp_path / "build/plan.json").read_text() == digits_plan()
