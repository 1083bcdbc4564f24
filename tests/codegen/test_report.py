from __future__ import annotations

import re
from html.parser import HTMLParser

from codegen.report import HEIGHT, WIDTH, plan_report, timeline
from tests.conftest import ROOT
from toolchain.importers import import_model
from toolchain.kernels import Isa
from toolchain.plan import plan_layers

GRAPH = import_model(ROOT / "examples/digits/digits.tflite")


def test_the_page_is_small_whole_and_needs_no_network() -> None:
    plans = [("portable", plan_layers(GRAPH)), ("DSP", plan_layers(GRAPH, Isa.DSP))]
    page = plan_report(GRAPH, plans)
    assert len(page) < 500_000
    assert not re.search(r"(src|href)=|url\(|https?://", page)
    parser = _Balance()
    parser.feed(page)
    assert not parser.open
    assert page.count('class="slot') == sum(len(plan.slots) for _, plan in plans)


def test_boxes_lie_in_the_picture_and_alive_bytes_never_exceed_the_arena() -> None:
    plan = plan_layers(GRAPH)
    picture = timeline("plain", plan, plan.arena_bytes)
    for box in picture.boxes:
        assert box.x >= 0
        assert box.x + box.width <= WIDTH + 1e-6
        assert box.y >= -1e-6
        assert box.y + box.height <= HEIGHT + 1e-6
    assert picture.bound_y == 0


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
