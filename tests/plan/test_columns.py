"""Columns: a network that takes its image column by column computes what it computed before."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from codegen.emit import emit
from runtimes.host.library import HostModel, compile_host
from tests.cli.test_quantize import call
from tests.graphs import random_graph
from tests.ops.harness import random_values
from tests.plan.networks import (
    Builder,
    bottleneck,
    random_map_network,
    random_mobile_network,
    random_shortcuts,
)
from toolchain.exporters.tflite import export_tflite
from toolchain.ir import Array, Graph, Session, run, verify
from toolchain.ops import Conv2D, FullyConnected, Mean
from toolchain.ops.spatial import Pads
from toolchain.passes import simplify, turned_inputs
from toolchain.passes.transposes import copies
from toolchain.plan import check_plan, pareto, plan_model

KINDS = (random_graph, random_map_network, random_shortcuts, random_mobile_network)


def turned_values(before: Graph, values: list[Array]) -> list[Array]:
    """Return the inputs as the turned network takes them."""
    maps = [len(t.shape) == 4 and min(t.shape[1:3]) > 1 for t in before.input_tensors]
    pairs = zip(values, maps, strict=True)
    return [np.ascontiguousarray(x.swapaxes(1, 2)) if turned else x for x, turned in pairs]


def test_a_turned_network_computes_the_same() -> None:
    found: Counter[str] = Counter()
    for seed in range(60):
        for kind in KINDS:
            rng = np.random.default_rng(seed)
            before = kind(rng)
            turned = verify(turned_inputs(before))
            after = simplify(turned, check=True)
            found["turned"] += before.input_tensors[0].shape != after.input_tensors[0].shape
            found["at once"] += not copies(turned)
            one, other = Session(before), Session(after)
            for _ in range(2):
                values = [random_values(tensor, rng) for tensor in before.input_tensors]
                pairs = zip(one.run(values), other.run(turned_values(before, values)), strict=True)
                for expected, got in pairs:
                    np.testing.assert_array_equal(got, expected, err_msg=f"{kind} {seed}")
    assert found["turned"] > 200, found
    assert found["at once"] > 50, found


def test_streams_and_strips_of_columns_equal_the_interpreter(tmp_path: Path) -> None:
    cases: list[tuple[str, Graph, Graph]] = []
    files: dict[str, str] = {}
    found: Counter[str] = Counter()
    for seed in range(12):
        kind = random_shortcuts if seed % 3 else random_map_network
        before = kind(np.random.default_rng(seed))
        after = simplify(turned_inputs(before))
        front = pareto(after, fed=seed % 2 == 0)
        for plan in dict.fromkeys((front[0], front[-1])):
            cases.append((f"case{len(cases)}", before, after))
            files |= emit(after, check_plan(after, plan), cases[-1][0])
            found["fed"] += bool(plan.feed)
            found["pulled"] += bool(plan.pull)
    library = compile_host(files, tmp_path)
    for name, before, after in cases:
        model = HostModel(library, name, after.input_tensors, after.output_tensors)
        rng = np.random.default_rng(0)
        values = [random_values(tensor, rng) for tensor in before.input_tensors]
        got = model.run(turned_values(before, values))
        for expected, made in zip(run(before, values), got, strict=True):
            np.testing.assert_array_equal(made, expected, err_msg=name)
    assert min(found["fed"], found["pulled"]) > 2, found


def wide_network() -> Graph:
    """Return a classifier of a map five times as wide as high, with residuals."""
    build = Builder(np.random.default_rng(7))
    image = build.activation("image", (1, 12, 60, 2))
    kernel = build.weights((8, 3, 5, 2), 0)
    x = build.add(Conv2D((1, 2), pads=Pads(1, 1, 2, 2)), image, *kernel)
    for _ in range(2):
        x = bottleneck(build, x, gate=False)
    pooled = build.add(Mean((1, 2)), x)
    build.add(FullyConnected(), pooled, *build.weights((4, x.shape[3]), 0))
    return build.graph(image)


def test_columns_of_wide_maps_need_less_memory_than_rows() -> None:
    rows = wide_network()
    columns = simplify(turned_inputs(rows))
    assert columns.input_tensors[0].shape == (1, 60, 12, 2)
    assert columns.macs == rows.macs
    assert not copies(columns)
    least = [plan_model(graph, fed=True).arena_bytes for graph in (rows, columns)]
    assert least[1] < 0.5 * least[0], least


def test_a_wide_network_is_compiled_by_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, plan, folder = tmp_path / "wide.tflite", tmp_path / "plan.json", tmp_path / "build"
    path.write_bytes(export_tflite(wide_network()))
    code, by_rows = call(capsys, "plan", path, "--fed")
    least = by_rows["result"]["fed_columns_arena_bytes"]
    code, envelope = call(capsys, "plan", path, "--fed", "--columns", "-o", plan)
    assert code == 0
    assert envelope["result"]["fed_arena_bytes"] == least < by_rows["result"]["fed_arena_bytes"]
    words = ["compile", path, "--board", "nucleo_f446re", "-o", folder, "--plan", plan]
    code, envelope = call(capsys, *words)
    assert (code, envelope["error"]["code"]) == (3, "E305")  # the plan is of the turned network
    assert call(capsys, *words, "--columns")[0] == 0
    code, envelope = call(capsys, "test", folder, "--random", "3")
    assert (code, envelope["result"]["targets"][0]["mismatched_bytes"]) == (0, 0)
