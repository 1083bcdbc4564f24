"""Generated C is free of undefined behaviour, and the sanitizers would tell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from codegen.emit import emit
from runtimes.host.sanitized import SanitizedModel
from tests.runtimes.networks import small_graph, small_network
from toolchain.errors import InternalError
from toolchain.ir import run
from toolchain.plan import plan_layers


def test_generated_c_is_clean(tmp_path: Path) -> None:
    graph = small_graph()
    model = SanitizedModel(graph, emit(graph, plan_layers(graph)), tmp_path)
    cases = [small_network("pico").inputs(seed) for seed in range(5)]
    for inputs, outputs in zip(cases, model.run(cases), strict=True):
        np.testing.assert_array_equal(outputs, run(graph, inputs))


@pytest.mark.parametrize(
    ("statement", "report"),
    [
        ("volatile int n = (int)sizeof(arena_words); arena[n] = 1;", "insufficient space"),
        ("volatile int n = 2147483647; n = n + 1;", "signed integer overflow"),
    ],
)
def test_a_defect_is_reported(statement: str, report: str, tmp_path: Path) -> None:
    graph = small_graph()
    files = emit(graph, plan_layers(graph))
    start = "void model_run(void)\n{\n"
    code = files["src/model.c"].replace(start, f"{start}    {statement}\n")
    model = SanitizedModel(graph, {**files, "src/model.c": code}, tmp_path)
    with pytest.raises(InternalError) as error:
        model.run([small_network("pico").inputs(0)])
    assert report in str(error.value.where)
