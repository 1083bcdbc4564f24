"""MCUNetV2's patches as published: a patch stage and layers, in its own accounting.

    python -m benchmarks.patches ARCHS.json [--only NAME...] [--blocks N] [--grid P]

The stem and the first blocks run once per tile of a P x P grid, whole patches at a time, the rest
layer by layer (J. Lin et al., "MCUNetV2", NeurIPS 2021, arXiv 2110.15352, section 3.1). A step
needs the bytes of its inputs and outputs and of all that waits, without scratch memory; a depthwise
convolution works in place, and the last convolution of a residual block adds into the shortcut. The
image is handed over patch by patch and not counted beyond its patch. Columns:

    layers     KiB of the neediest layer, all layers whole
    patches    KiB of the neediest step with the patch stage
    F          multiply-accumulates over those of the plain network, halos clipped at the border
    Tessera    KiB of the leanest plan within the same F, with rings (portable kernels, arena)
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nas.layer_list import LayerList, build_graph, read_layer_lists
from toolchain.ir import Graph, Node
from toolchain.kernels import Isa
from toolchain.ops import Add, DepthwiseConv2D
from toolchain.plan import plan_model
from toolchain.plan.tiles import Box, Grid, Tiling

FORMAT = "{:<28} {:>9} {:>9} {:>7} {:>9}"


@dataclass(frozen=True)
class Reduction:
    """What a patch stage saves, and what it costs.

    Attributes:
        layer_bytes: peak of plain layers.
        patch_bytes: peak with the patch stage.
        macs: multiply-accumulates with the patch stage.
    """

    layer_bytes: int
    patch_bytes: int
    macs: int


def reduction(layers: LayerList, blocks: int, grid: int) -> Reduction:
    """Return what ``grid`` x ``grid`` patches of the stem and the first ``blocks`` blocks do.

    Raises:
        ValueError: if the blocks cannot be cut so.
    """
    graph = build_graph(layers)
    count = 1 + sum(_nodes(layers, block) for block in range(blocks))
    nodes, rest = tuple(graph.nodes[:count]), graph.nodes[count:]
    made = {name for node in nodes for name in node.outputs}
    used = {name for node in rest for name in node.inputs}
    inside = frozenset({*made, *graph.inputs} - used)
    tiling = Tiling(graph, nodes, Grid(grid, grid), inside, graph.inputs[0])
    tiles = tiling.tiles(tiling.kernels(Isa.PORTABLE) or ())
    if tiles is None:
        raise ValueError(f"{blocks} blocks cannot be cut into {grid} x {grid} tiles")
    whole = {name: tensor.nbytes for name, tensor in graph.tensors.items()}
    sizes = [_sizes(graph, tile.boxes, inside) for tile in tiles]
    stage = [need for patches in sizes for need in _needs(graph, nodes, patches)]
    out = sum(whole[name] for name in made & used)
    repeated = sum(tile.macs for tile in tiles) - sum(_macs(graph, node) for node in nodes)
    after = list(_needs(graph, graph.nodes, whole))[count:]
    return Reduction(
        max(_needs(graph, graph.nodes, whole)),
        max(out + max(stage), *after),
        graph.macs + repeated,
    )


def _nodes(layers: LayerList, index: int) -> int:
    block = layers.blocks[index]
    if block.squeeze:
        raise ValueError(f"block {index} needs its whole map: it has a squeeze-and-excite gate")
    return (block.middle > 0) + (block.kernel > 0) + 1 + block.residual


def _macs(graph: Graph, node: Node) -> int:
    return node.op.macs(graph.operands(node))


def _sizes(graph: Graph, boxes: Mapping[str, Box], inside: frozenset[str]) -> dict[str, int]:
    """Return the bytes of the patches of a tile; a map that leaves the stage is counted apart."""
    sizes = {}
    for name, box in boxes.items():
        rows, columns = box.size
        pixel = graph.tensors[name].nbytes // math.prod(graph.tensors[name].shape[1:3])
        sizes[name] = pixel * rows * columns if name in inside else 0
    return sizes


def _needs(graph: Graph, nodes: Sequence[Node], sizes: Mapping[str, int]) -> Iterator[int]:
    """Yield the bytes that each node needs, with what waits for others beside it."""
    made = {name: step for step, node in enumerate(nodes) for name in node.outputs}
    last = dict.fromkeys(made, len(nodes))
    for step, node in enumerate(nodes):
        last |= {tensor.name: step for tensor in graph.operands(node).activations}
    added = {name for node in nodes for name in _added(graph, node)}
    for step, node in enumerate(nodes):
        alive = {n: sizes[n] for n in last if made.get(n, -1) <= step <= last[n] and n not in added}
        inputs = (tensor.name for tensor in graph.operands(node).activations)
        dying = max((alive.get(name, 0) for name in inputs if last[name] == step), default=0)
        reused = min(dying, sizes[node.outputs[0]]) if _in_place(graph, node) else 0
        yield sum(alive.values()) - reused


def _added(graph: Graph, node: Node) -> Iterator[str]:
    """Yield the branch of an addition that is added into the shortcut where it is made."""
    if isinstance(node.op, Add):
        branch = node.inputs[1]
        if branch is not None and len(graph.consumers[branch]) == 1:
            yield branch


def _in_place(graph: Graph, node: Node) -> bool:
    """Tell whether the output takes the place of an input that dies."""
    operands = graph.operands(node)
    windows = node.op.windows(operands)
    plain = all(window.elementwise for window in windows)
    return isinstance(node.op, DepthwiseConv2D) or plain


def main() -> None:
    """Print a row per network on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--only", nargs="*", default=["mbv2-w1.0-r224"])
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--grid", type=int, default=4)
    arguments = parser.parse_args()
    print(FORMAT.format("network", "layers", "patches", "F", "Tessera"))
    for name, layers in read_layer_lists(arguments.path).items():
        if name in arguments.only:
            print(_row(layers, arguments.blocks, arguments.grid), flush=True)


def _row(layers: LayerList, blocks: int, grid: int) -> str:
    found, graph = reduction(layers, blocks, grid), build_graph(layers)
    factor = found.macs / graph.macs
    own = plan_model(graph, max_macs=factor, fed=True)
    sizes = (found.layer_bytes, found.patch_bytes)
    kib = (f"{size / 1024:.1f}" for size in (*sizes, own.arena_bytes))
    layer, patch, ours = kib
    return FORMAT.format(layers.name, layer, patch, f"{factor:.4f}", ours)


if __name__ == "__main__":
    main()
