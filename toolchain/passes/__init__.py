"""Passes: from a valid graph to a valid graph that computes the same, exactly.

Each pass is a function in a file of its own. `simplify` is the whole pipeline.
"""

from __future__ import annotations

from collections.abc import Callable

from toolchain.ir import Graph, verify
from toolchain.passes.activations import fuse_activations
from toolchain.passes.constants import fold_constants
from toolchain.passes.dead_code import remove_dead_code
from toolchain.passes.edges import channels_last_inputs, drop_float_edges
from toolchain.passes.identities import remove_identities, transposes_to_views
from toolchain.passes.padding import fold_padding
from toolchain.passes.requantize import fold_requantisation
from toolchain.passes.transposes import sink_transposes

__all__ = ["PIPELINE", "channels_last_inputs", "drop_float_edges", "simplify"]

Pass = Callable[[Graph], Graph]

PIPELINE: tuple[Pass, ...] = (
    fold_constants,
    remove_identities,
    fold_requantisation,
    sink_transposes,
    transposes_to_views,
    fold_padding,
    fuse_activations,
    remove_identities,
    fold_constants,
    remove_dead_code,
)


def simplify(graph: Graph, check: bool = False) -> Graph:
    """Return ``graph`` without needless work; `run` gives the same bytes before and after.

    Inputs and outputs stay as they are; `drop_float_edges` and `channels_last_inputs` change them,
    on request, before this.

    Args:
        graph: a verified graph.
        check: verify the graph after every pass.

    Raises:
        ModelError: E205 if ``check`` finds that a pass broke the graph.
    """
    for rewrite in PIPELINE:
        graph = rewrite(graph)
        if check:
            verify(graph)
    return graph
