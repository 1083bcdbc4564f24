"""The page: small however large the network is, whole, and true to the plans that it shows."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from codegen.emit import emit
from codegen.report import LIMIT, plan_report
from codegen.timeline import HEIGHT, WIDTH, alive, shortened, timeline
from tests.conftest import ROOT
from tests.data import shared_models
from tests.plan.networks import Builder
from toolchain.cli.pipeline import load_graph
from toolchain.cli.report import Reporter
from toolchain.errors import TesseraError
from toolchain.importers import import_model
from toolchain.ir import Graph
from toolchain.kernels import Isa
from toolchain.ops import Relu, Reshape
from toolchain.plan import LayerStage, Plan, Slot, graph_hash, pareto, plan_layers, plan_model
from toolchain.plan.diff import diff
from toolchain.plan.plan import ARENA

GRAPH = import_model(ROOT / "examples/digits/digits.tflite")


def check_page(page: str) -> None:
    assert len(page.encode()) < LIMIT
    assert not re.search(r"(src|href)=|url\(|https?://", page)
    parser = _Balance()
    parser.feed(page)
    assert not parser.open


def test_the_page_shows_every_plan_and_needs_no_network() -> None:
    plans = [("portable", plan_layers(GRAPH)), ("DSP", plan_layers(GRAPH, Isa.DSP))]
    page = plan_report(GRAPH, plans)
    check_page(page)
    assert page.count('class="slot') == sum(len(plan.slots) for _, plan in plans)
    assert all(node.name in page for node in GRAPH.nodes)


def test_the_chosen_plan_is_marked_and_compared_with_the_first() -> None:
    front = pareto(GRAPH)
    plans = [(f"{plan.arena_bytes:,}", plan) for plan in reversed(front)]
    page = plan_report(GRAPH, plans, front[0])
    check_page(page)
    assert page.count("<circle cx") == page.count('tr class="chosen"') == 1
    changes = diff(GRAPH, front[-1], front[0])
    assert changes.nodes
    for change in (*changes.nodes, *changes.slots):
        assert f"<td>{change.name}</td>" in page


def long_plan(count: int) -> tuple[Graph, Plan]:
    """Return a chain of ``count`` functions with long names and a plan of it, as it may be."""
    build = Builder(np.random.default_rng(0))
    x = build.activation("x", (1, 8))
    for _ in range(count):
        x = build.add(Relu(), x)
    graph = build.graph(build.tensors["x"])
    name = "model/block/" * 12
    slots = tuple(
        Slot(f"{name}{i}", (f"{name}{i}",), ARENA, i % 50 * 8, 8, i, i + 40) for i in range(count)
    )
    stages = tuple(LayerStage(node.name, "table") for node in graph.nodes)
    return graph, Plan(graph_hash(graph), "portable", stages, slots, 400, 400, 0, 0)


@pytest.mark.parametrize("count", [200, 1_000, 6_000])
def test_the_page_of_a_huge_network_is_small(count: int) -> None:
    graph, plan = long_plan(count)
    page = plan_report(graph, [(str(i), plan) for i in range(24)])
    check_page(page)
    assert page.count('class="slot') >= 100


@pytest.mark.slow
def test_the_page_of_every_model_is_small() -> None:
    for path in shared_models():
        try:
            graph = load_graph(path, Reporter(quiet=True, json=True))
        except TesseraError:
            continue
        if len(graph.nodes) < 100:
            check_page(plan_report(graph, [("layers", plan_layers(graph))] * 8))


def test_boxes_lie_in_the_picture_and_alive_bytes_are_those_of_the_slots() -> None:
    plan = plan_layers(GRAPH)
    picture = timeline("plain", plan, plan.arena_bytes)
    for box in picture.boxes:
        assert box.x >= 0
        assert box.x + box.width <= WIDTH + 1e-6
        assert box.y >= -1e-6
        assert box.y + box.height <= HEIGHT + 1e-6
    assert picture.bound_y == 0
    assert len(picture.boxes) == len(plan.slots)
    for step, size in enumerate(alive(plan)):
        assert size == sum(s.size for s in plan.slots if s.first <= step <= s.last)


def test_names_are_shortened_in_the_middle() -> None:
    assert shortened("conv2d", 6) == "conv2d"
    assert shortened("model/conv2d_1/BiasAdd", 9) == "mode…sAdd"
    assert all(len(shortened("x" * 99, n)) == n for n in range(3, 99))


def test_a_plan_does_not_differ_from_itself_and_each_change_is_named_once() -> None:
    plan, other = plan_layers(GRAPH), plan_model(GRAPH)
    same = diff(GRAPH, plan, plan)
    assert not same.nodes
    assert not same.slots
    assert not any(figure.differs for figure in same.figures)
    there, back = diff(GRAPH, plan, other), diff(GRAPH, other, plan)
    assert {(c.name, c.before, c.after) for c in (*there.nodes, *there.slots)} == {
        (c.name, c.after, c.before) for c in (*back.nodes, *back.slots)
    }
    arena = next(figure for figure in there.figures if figure.name == "arena, bytes")
    assert (arena.before, arena.after) == (f"{plan.arena_bytes:,}", f"{other.arena_bytes:,}")


def test_the_map_in_c_names_all_tensors_of_a_slot_and_no_name_ends_the_comment() -> None:
    build = Builder(np.random.default_rng(0))
    x = build.activation("in*/ int evil; /*\n", (1, 4, 4, 2))
    y = build.add(Reshape((1, 32)), x, quant=x.quant)
    z = build.add(Reshape((1, 2, 16)), y, quant=x.quant)
    build.add(Relu(), z)
    graph = build.graph(x)
    files = emit(graph, plan_layers(graph), "net")
    header = files["src/net.c"].split("#include")[0]
    assert header.count("/*") == header.count("*/") == 1
    assert all(name in header for name in (y.name, z.name))
    assert "in* / int evil; / *?" in header
    assert "in*/" not in "".join(files.values())


class _Balance(HTMLParser):
    """Keeps the tags that are open; void ones close themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del tag, attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
