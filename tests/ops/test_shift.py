from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.ops.harness import assert_c_equals_reference
from tests.ops.random_state import random_rows, updating
from toolchain.errors import ModelError
from toolchain.ir import Graph, Operands, Session
from toolchain.ops import Shift


def random_shift(rng: np.random.Generator) -> Graph:
    state, new = random_rows(rng)
    x = replace(state, name="x", shape=(1, new, *state.shape[2:]))
    return updating(rng, Shift(), state, x)


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(random_shift, tmp_path)


def test_a_delay_line_holds_the_newest_rows_in_order() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        graph = random_shift(rng)
        state, new = graph.states[0].initial, graph.input_tensors[0].shape[1]
        session, fed = Session(graph), [state]
        for step in range(4):
            x = np.full(graph.input_tensors[0].shape, step + 1, state.dtype)
            fed.append(x)
            (line,) = session.run([x])
            newest = np.concatenate(fed, axis=1)[:, -state.shape[1] :]
            np.testing.assert_array_equal(line, newest)
        session.reset()
        (line,) = session.run([x])
        np.testing.assert_array_equal(line[:, : state.shape[1] - new], state[:, new:])


def test_rows_of_another_width_are_refused() -> None:
    state, _ = random_rows(np.random.default_rng(1))
    wide = replace(state, name="x", shape=(*state.shape[:-1], state.shape[-1] + 1))
    with pytest.raises(ModelError, match="no new part"):
        Shift().infer(Operands((state, wide), ()))
