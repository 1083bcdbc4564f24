"""Effort: repeatable, never worse with more of it, ended early with the best so far."""

from __future__ import annotations

import numpy as np
import pytest

from tests.plan.networks import random_bottlenecks, random_map_network, random_mobile_network
from toolchain.errors import FitError
from toolchain.ir import Graph
from toolchain.plan import Plan, check_plan, pareto, plan_model
from toolchain.plan.effort import HIGH, LEVELS, NORMAL, Watch, watch_for

KINDS = (random_map_network, random_bottlenecks, random_mobile_network)


def network(seed: int) -> Graph:
    return KINDS[seed % 3](np.random.default_rng(seed))


def planned(graph: Graph, level: str, **wish: float) -> Plan:
    return plan_model(graph, watch=watch_for(level), **wish)


def test_more_effort_is_never_worse_and_each_is_repeatable() -> None:
    for seed in range(6):
        graph = network(seed)
        arenas = {level: planned(graph, level, max_macs=1.3).arena_bytes for level in LEVELS}
        again = {level: planned(graph, level, max_macs=1.3).arena_bytes for level in LEVELS}
        assert arenas == again
        assert arenas["high"] <= arenas["normal"]
        assert arenas["normal"] == plan_model(graph, max_macs=1.3).arena_bytes


def test_no_time_leaves_the_layer_plan_and_enough_time_the_best() -> None:
    graph = network(1)
    watch = Watch((NORMAL, HIGH), seconds=0)
    plan = check_plan(graph, plan_model(graph, watch=watch))
    assert watch.ended == "its time"
    assert len(plan.stages) == len(graph.nodes)
    watch = watch_for("1000s")
    assert plan_model(graph, watch=watch).arena_bytes <= plan_model(graph).arena_bytes
    assert not watch.ended


def interrupted(after: int) -> Watch:
    """Return a watch of somebody who types Ctrl-C when so many plans are found."""
    watch = Watch()

    def tell(_: Plan) -> None:
        if len(watch.plans) == after:
            raise KeyboardInterrupt

    watch.tell = tell
    return watch


@pytest.mark.parametrize("fed", [False, True])
def test_ctrl_c_takes_the_best_so_far(fed: bool) -> None:
    graph = network(5)
    watch = interrupted(4)
    plan = plan_model(graph, fed=fed, watch=watch)
    assert watch.ended == "Ctrl-C"
    seen = [p for p in watch.plans if bool(p.feed) == fed]
    assert plan.arena_bytes == min(p.arena_bytes for p in seen)
    watch = interrupted(6)
    front = pareto(graph, fed=fed, watch=watch)
    assert watch.ended == "Ctrl-C"
    assert [p.arena_bytes for p in front] == sorted({p.arena_bytes for p in front})


def test_ctrl_c_is_passed_on_where_nobody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Watch, "tick", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        plan_model(network(0))


def test_a_search_that_ends_before_it_finds_anything_says_so() -> None:
    with pytest.raises(FitError) as caught:
        plan_model(network(1), max_ram=1, watch=Watch(seconds=0))
    assert caught.value.code == "E307"


def test_ctrl_c_before_anything_is_found_ends_the_command() -> None:
    with pytest.raises(KeyboardInterrupt):
        plan_model(network(1), max_ram=1, watch=interrupted(1))


@pytest.mark.parametrize("text", ["slow", "", "s", "-1s", "nan", "inf"])
def test_what_is_no_effort_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=text or None):
        watch_for(text)


def options(hint: str) -> dict[str, float]:
    """Return what ``--max-ram N --max-macs Fx`` asks for."""
    words = hint.split()
    names = {"--max-ram": "max_ram", "--max-macs": "max_macs"}
    pairs = zip(words[::2], words[1::2], strict=True)
    values = {names[name]: float(value.removesuffix("x")) for name, value in pairs}
    return {k: int(v) if k == "max_ram" else v for k, v in values.items()}


@pytest.mark.parametrize("max_macs", [None, 1.0, 1.1])
def test_hints_of_impossible_limits_hold_and_the_least_is_the_least(max_macs: float | None) -> None:
    for seed in range(6):
        graph = network(seed)
        with pytest.raises(FitError) as caught:
            plan_model(graph, max_ram=0, max_macs=max_macs)
        least = caught.value.numbers["least_ram_bytes"]
        for hint in caught.value.hints:
            plan = check_plan(graph, plan_model(graph, **options(hint)))
            assert plan.arena_bytes <= options(hint)["max_ram"]
        with pytest.raises(FitError) as caught:
            plan_model(graph, max_ram=least - 1, max_macs=max_macs)
        assert caught.value.numbers["least_ram_bytes"] == least
        for hint in caught.value.hints:
            wish = options(hint)
            plan = plan_model(graph, **wish)
            assert plan.arena_bytes <= wish["max_ram"]
            assert plan.mac_factor <= wish.get("max_macs", 1e9)
