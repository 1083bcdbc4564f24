"""The reduction that MCUNetV2 publishes, in its own accounting."""

from __future__ import annotations

import pytest

from benchmarks.patches import reduction
from nas.layer_list import Block, LayerList, build_graph

# Expansion, channels, repeats and first stride (MobileNetV2, CVPR 2018, table 2).
ROWS = ((6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def mobilenet_v2() -> LayerList:
    blocks, channels = [Block(0, 16, 3, 1, residual=False)], 16
    for expansion, outputs, repeats, first in ROWS:
        for index in range(repeats):
            stride = 1 if index else first
            blocks.append(Block(expansion * channels, outputs, 3, stride, residual=index > 0))
            channels = outputs
    return LayerList("mbv2", (224, 224), 3, (3, 2, 32), tuple(blocks), 1280, 1000)


def test_mobilenet_v2_shrinks_from_1372_to_171_5_kib() -> None:
    layers = mobilenet_v2()
    found, plain = reduction(layers, blocks=4, grid=4), build_graph(layers).macs
    assert plain == 300_774_272
    assert (found.layer_bytes, found.patch_bytes) == (1372 * 1024, 171.5 * 1024)
    assert found.macs == 328_693_616  # 9.28 % more


def test_one_patch_saves_nothing_in_the_stage() -> None:
    layers = mobilenet_v2()
    found = reduction(layers, blocks=4, grid=1)
    assert found.macs == build_graph(layers).macs
    assert found.patch_bytes > found.layer_bytes - 224 * 224 * 3


def test_a_gate_is_no_part_of_a_patch_stage() -> None:
    gated = LayerList(
        "n", (8, 8), 1, (3, 1, 4), (Block(0, 4, 3, 1, residual=True, squeeze=2),), 0, 2
    )
    with pytest.raises(ValueError, match="squeeze-and-excite"):
        reduction(gated, blocks=1, grid=2)
