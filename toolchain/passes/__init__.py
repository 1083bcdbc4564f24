"""Passes: from a valid graph to a valid graph that computes the same, exactly.

Each pass is a function in a file of its own. `simplify` is the whole pipeline.
"""

from __future__ import annotations

from collections.abc import Callable

from toolchain.ir import Graph, verify
from toolchain.passes.activations import fuse_activations
from toolchain.passes.affine_weights import fold_affine_weights
from toolchain.passes.annotations import spread_annotations
from toolchain.passes.attention import fuse_attention
from toolchain.passes.constants import fold_constants
from toolchain.passes.dead_code import remove_dead_code
from toolchain.passes.delay_lines import fuse_delay_lines
from toolchain.passes.dilation import fold_dilation
from toolchain.passes.edges import drop_float_edges
from toolchain.passes.flattening import drop_flattening
from toolchain.passes.gelu import fuse_gelu
from toolchain.passes.identities import remove_identities, transposes_to_views
from toolchain.passes.layer_norm import fuse_layer_norm
from toolchain.passes.layout import channels_last_inputs
from toolchain.passes.names import plain_names
from toolchain.passes.padding import fold_padding
from toolchain.passes.requantize import fold_requantisation
from toolchain.passes.standard import spell_out_layer_norms
from toolchain.passes.transposes import sink_transposes
from toolchain.passes.turning import turned_inputs

__all__ = [
    "PIPELINE",
    "channels_last_inputs",
    "drop_float_edges",
    "simplify",
    "simplify_float",
    "spell_out_layer_norms",
    "turned_inputs",
]

Pass = Callable[[Graph], Graph]

PIPELINE: tuple[Pass, ...] = (
    fold_constants,
    fold_dilation,
    remove_identities,
    fold_requantisation,
    sink_transposes,
    transposes_to_views,
    fold_padding,
    fuse_activations,
    remove_identities,
    fold_constants,
    drop_flattening,
    fuse_delay_lines,
    remove_dead_code,
)


def simplify(graph: Graph, check: bool = False) -> Graph:
    """Return ``graph`` without needless work; `run` gives the same bytes before and after.

    Inputs and outputs stay as they are; `drop_float_edges`, `channels_last_inputs` and
    `turned_inputs` change them, on request, before this.

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


FLOAT_PIPELINE: tuple[Pass, ...] = (
    spread_annotations,
    fold_dilation,
    fuse_gelu,
    fuse_layer_norm,
    fuse_attention,
    sink_transposes,
    remove_identities,
    fold_affine_weights,
    fuse_activations,
    transposes_to_views,
    remove_identities,
    remove_dead_code,
    plain_names,
)


def simplify_float(graph: Graph) -> Graph:
    """Return a float graph without needless work; values stay but for the order of rounding.

    Factors and offsets per channel (batch normalisation) move into weights, activations into the
    operators before them, transposes between channels first and channels last cancel, and GELU and
    layer normalisation that a file spells out become one operator each.
    """
    for rewrite in FLOAT_PIPELINE:
        graph = rewrite(graph)
    return graph
