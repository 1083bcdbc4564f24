"""Global pools in streams: sums of 16 bits where they suffice, at both ends of the range."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from boards import load_board
from codegen.emit import emit
from nas.draft import Draft
from runtimes.host.library import HostModel, compile_host
from tests.ops.harness import random_values
from toolchain.ir import Graph, run
from toolchain.ops import AveragePool2D, Mean
from toolchain.plan import StreamStage, check_plan, plan_model

SANITIZER = ("-O1", "-fsanitize=undefined", "-fno-sanitize=alignment")
CHANNELS = 3


def pooled(size: tuple[int, int], *, mean: bool) -> Graph:
    """Return a network that means the input, of one zero point or another, over all pixels."""
    draft = Draft("pooled")
    x = draft.input(1, *size, CHANNELS)
    if mean:
        return draft.graph(draft.add(Mean((1, 2), keep_dims=True), x))
    return draft.graph(draft.add(AveragePool2D(size), x, quant=x.quant))


@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize(("size", "sum_bytes"), [((16, 16), 2), ((8, 32), 2), ((17, 16), 4)])
def test_sums_hold_the_least_and_the_greatest_map(
    size: tuple[int, int],
    sum_bytes: int,
    mean: bool,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    graph = pooled(size, mean=mean)
    plan = check_plan(graph, plan_model(graph, load_board("nucleo_f412zg"), fed=True))
    (stage,) = plan.stages
    assert isinstance(stage, StreamStage)
    assert stage.kernels == ("global_pool",)
    (scratch,) = (slot for slot in plan.slots if slot.name.endswith(".scratch"))
    assert scratch.size == -(-sum_bytes * CHANNELS // 4) * 4
    library = compile_host(emit(graph, plan, "pooled"), tmp_path, SANITIZER)
    model = HostModel(library, "pooled", graph.input_tensors, graph.output_tensors)
    (tensor,) = graph.input_tensors
    even = [np.full(tensor.shape, value, np.int8) for value in (-128, 127)]
    for x in (*even, random_values(tensor, np.random.default_rng(0))):
        for expected, got in zip(run(graph, [x]), model.run([x]), strict=True):
            np.testing.assert_array_equal(got, expected)
    assert "runtime error" not in capfd.readouterr().err
