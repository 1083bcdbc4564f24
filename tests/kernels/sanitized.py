"""The portable text of kernels for an instruction set, on this machine, under the sanitizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from codegen.emit import emit
from runtimes.host.library import HostModel, compile_host
from tests.ops.harness import CASES, random_values
from tests.ops.unity import unite
from toolchain.ir import Graph, run
from toolchain.kernels import Isa
from toolchain.plan import Plan, plan_layers

SANITIZER = ("-O0", "-fsanitize=undefined", "-fno-sanitize=alignment")


def assert_portable_text_is_exact(
    make: Callable[[np.random.Generator], Graph],
    isa: Isa,
    folder: Path,
    seeds: Sequence[int] = range(CASES),
    planned: Callable[[Graph, Isa], Plan] = plan_layers,
) -> None:
    """Run random graphs; what the sanitizer finds is on the standard error output."""
    graphs = {f"case{seed}": make(np.random.default_rng(seed)) for seed in seeds}
    files = unite({name: emit(g, planned(g, isa), name) for name, g in graphs.items()})
    library = compile_host(files, folder, SANITIZER)
    for seed, (name, graph) in zip(seeds, graphs.items(), strict=True):
        rng = np.random.default_rng(seed)
        inputs = [random_values(tensor, rng) for tensor in graph.input_tensors]
        getattr(library, f"{name}_init")()
        model = HostModel(library, name, graph.input_tensors, graph.output_tensors)
        for got, want in zip(model.run(inputs), run(graph, inputs), strict=True):
            np.testing.assert_array_equal(got, want, f"seed {seed}")
