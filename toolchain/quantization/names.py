"""Names and patterns by which users choose layers and tensors."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from fnmatch import fnmatchcase

from toolchain.errors import UsageError
from toolchain.ir import Graph
from toolchain.ops import Conv2D, DepthwiseConv2D, FullyConnected


def matching(known: Collection[str], name: str, option: str, what: str) -> list[str]:
    """Return the known names that a user means; ``*`` and ``?`` stand for any text.

    Args:
        known: all names.
        name: one of them, or a pattern.
        option: that takes it, for hints.
        what: the names are of.

    Raises:
        UsageError: E114 if there is none.
    """
    found = [name] if name in known else [one for one in known if fnmatchcase(one, name)]
    if not found:
        near = difflib.get_close_matches(name, known, 3, 0.3)
        hints = [f"{option} {one}" for one in near]
        raise UsageError("E114", f"no {what} is called {name}", hints=hints)
    return found


def named_layers(graph: Graph, names: Collection[str]) -> frozenset[str]:
    """Return the layers with float weights, of those that may have 4 bits, that users name.

    Args:
        graph: a float graph.
        names: of nodes; ``*`` and ``?`` stand for any text.

    Raises:
        UsageError: E114 if no such layer has one of the names.
    """
    known = [
        node.name
        for node in graph.nodes
        if isinstance(node.op, Conv2D | DepthwiseConv2D | FullyConnected)
        and graph.operands(node).input(1).quant is None
    ]
    what = "convolution or fully connected layer with float weights"
    return frozenset(one for name in names for one in matching(known, name, "--int4", what))
