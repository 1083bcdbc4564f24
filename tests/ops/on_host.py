"""One graph, compiled for this machine and run once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from codegen.emit import emit
from runtimes.host.library import build_host
from toolchain.ir import Array, Graph
from toolchain.plan import plan_layers


def run_on_host(graph: Graph, inputs: Sequence[Array], folder: Path) -> list[Array]:
    return build_host(graph, emit(graph, plan_layers(graph)), folder).run(inputs)
