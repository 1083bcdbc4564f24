"""Layer lists: what is read is what is built."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.layer_list import Block, LayerList, build_graph, read_layer_lists
from toolchain.errors import UsageError
from toolchain.ir import run

LIST: dict[str, Any] = {
    "res": [20, 24],
    "in_ch": 3,
    "stem": [3, 2, 8],
    "blocks": [[8, 0, 4, 3, 1, 0], [4, 16, 6, 5, 2, 0, 2], [6, 12, 6, 3, 1, 1]],
    "mix": 10,
    "classes": 5,
    "act": "relu",
}


def written(folder: Path, **changes: Any) -> Path:
    path = folder / "lists.json"
    path.write_text(json.dumps({"_note": "no network", "small": {**LIST, **changes}}))
    return path


def test_macs_are_those_of_the_rows(tmp_path: Path) -> None:
    layers = read_layer_lists(written(tmp_path))["small"]
    stem = 10 * 12 * 8 * 27
    first = 10 * 12 * 8 * (9 + 4)
    second = 10 * 12 * 4 * 16 + 5 * 6 * 16 * (25 + 6) + 2 * 16 * 2
    third = 5 * 6 * 12 * (6 + 9 + 6)
    head = 5 * 6 * 6 * 10 + 10 * 5
    # Adding 3 and multiplying by 1/6 count none.
    assert build_graph(layers).macs == stem + first + second + third + head


def test_a_network_runs_and_repeats() -> None:
    blocks = (Block(0, 8, 0, 1, residual=False), Block(16, 8, 3, 1, residual=True, squeeze=2))
    layers = LayerList("n", (8, 8), 3, (3, 1, 4), blocks, 0, 3)
    x = np.random.default_rng(0).integers(-128, 128, (1, 8, 8, 3), dtype=np.int8)
    (first,), (again,) = (run(build_graph(layers, seed=4), [x]) for _ in range(2))
    assert first.shape == (1, 3)
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize(
    "changes",
    [
        {"blocks": [[7, 0, 4, 3, 1, 0]]},
        {"blocks": [[8, 0, 4]]},
        {"mix": -1},
        {"mix": 1 << 40},
        {"stem": "large"},
        {"res": None},
    ],
)
def test_a_wrong_list_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read_layer_lists(written(tmp_path, **changes))
    assert (caught.value.code, caught.value.where) == ("E122", "small")
