"""One operator as a graph, run by the interpreter and by compiled C."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from codegen.emit import emit
from tests.ops.targets import build_targets
from tests.ops.unity import unite
from toolchain.ir import Array, Graph, Node, Operands, Session, Tensor, verify
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
    board_id: str = "emulator_m4_16m",
) -> None:
    """Make ``cases`` random graphs, run them in C; every byte must equal the interpreter's.

    All graphs are compiled together: for this machine (portable kernels only) and as one firmware
    for an emulated Cortex-M.

    Args:
        make: returns a random graph; called with one generator per case, seeded by its number.
        folder: where the library and the firmware are built.
        cases: number of graphs.
        isa: instruction set the kernels are chosen for.
        board_id: the emulated board.
    """
    graphs = {f"case{seed}": make(np.random.default_rng(seed)) for seed in range(cases)}
    files = unite({name: emit(g, plan_layers(g, isa), name) for name, g in graphs.items()})
    targets = build_targets(files, folder, board_id, host=isa is Isa.PORTABLE)
    for seed, (name, graph) in enumerate(graphs.items()):
        rng = np.random.default_rng(seed)
        session = Session(graph)
        for target in targets:
            target.start(name)
        for _ in range(2):
            inputs = [random_values(tensor, rng) for tensor in graph.input_tensors]
            expected = session.run(inputs)
            for target in targets:
                got = target.run(name, graph, inputs)
                message = f"{target.name}, seed {seed}: {graph.nodes}"
                for want, have in zip(expected, got, strict=True):
                    np.testing.assert_array_equal(have, want, err_msg=message)
