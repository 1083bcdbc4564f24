"""One operator as a graph, run by the interpreter and by compiled C."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from codegen.emit import emit
from runtimes.host.library import HostModel, compile_host
from toolchain.ir import Array, Graph, Node, Operands, Tensor, run, verify
from toolchain.kernels import Isa
from toolchain.ops import Op
from toolchain.plan import plan_layers

CASES = 200


def single(op: Op, inputs: Sequence[Tensor | None], outputs: Sequence[Tensor]) -> Graph:
    """Return the graph of one node; inputs without data become graph inputs."""
    given = [tensor for tensor in inputs if tensor is not None]
    node = Node(
        op.name,
        op,
        tuple(None if tensor is None else tensor.name for tensor in inputs),
        tuple(tensor.name for tensor in outputs),
    )
    graph = Graph(
        op.name,
        (node,),
        {tensor.name: tensor for tensor in (*given, *outputs)},
        tuple(dict.fromkeys(tensor.name for tensor in given if not tensor.is_constant)),
        tuple(tensor.name for tensor in outputs),
    )
    return verify(graph)


def inferred(op: Op, inputs: Sequence[Tensor | None], output: Tensor) -> Tensor:
    """Return ``output`` with the shape and type that the operator infers."""
    (made,) = op.infer(Operands(tuple(inputs), (output,)))
    return replace(output, shape=made.shape, dtype=made.dtype)


def random_values(tensor: Tensor, rng: np.random.Generator) -> Array:
    """Return random values of a tensor's type; floats in a range that quantises well."""
    if tensor.dtype.numpy.kind == "f":
        return rng.normal(0, 4, tensor.shape).astype(np.float32)
    low, high = tensor.dtype.limits
    return rng.integers(low, high, tensor.shape, dtype=tensor.dtype.numpy, endpoint=True)


def assert_c_equals_reference(
    make: Callable[[np.random.Generator], Graph],
    folder: Path,
    cases: int = CASES,
    isa: Isa = Isa.PORTABLE,
) -> None:
    """Make ``cases`` random graphs, compile all into one library; every byte must be equal.

    Args:
        make: returns a random graph; called with one generator per case, seeded by its number.
        folder: where the library is built.
        cases: number of graphs.
        isa: instruction set the kernels are chosen for.
    """
    graphs = [make(np.random.default_rng(seed)) for seed in range(cases)]
    files: dict[str, str] = {}
    for seed, graph in enumerate(graphs):
        files |= emit(graph, plan_layers(graph, isa), f"case{seed}")
    library = compile_host(files, folder)
    for seed, graph in enumerate(graphs):
        rng = np.random.default_rng(seed)
        model = HostModel(library, f"case{seed}", graph.input_tensors, graph.output_tensors)
        for _ in range(2):
            inputs = [random_values(tensor, rng) for tensor in graph.input_tensors]
            for expected, got in zip(run(graph, inputs), model.run(inputs), strict=True):
                np.testing.assert_array_equal(got, expected, err_msg=f"seed {seed}: {graph.nodes}")
