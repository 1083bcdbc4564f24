"""Graphs of one recurrent operator, and sequences of inferences in TFLite Micro."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from codegen.emit import emit
from runtimes.host.sanitized import SanitizedModel
from tests.ops.harness import CASES, random_values
from tests.oracle.runtimes import Micro, RefusedError
from toolchain.exporters.tflite import export_tflite
from toolchain.importers.tflite_recurrent import initial_value
from toolchain.ir import Graph, Node, Session, State, Tensor, verify
from toolchain.kernels import Isa, candidates
from toolchain.ops import Op
from toolchain.plan import plan_layers

STEPS = 50  # inferences of a sequence


def recurrent(
    op: Op, inputs: Sequence[Tensor | None], y: Tensor, states: Sequence[Tensor]
) -> Graph:
    """Return the graph of one node that makes ``y`` and updates ``states``, some of its inputs."""
    after = [replace(state, name=f"{state.name}.next") for state in states]
    tensors = [t for t in (*inputs, y, *after) if t is not None]
    names = tuple(None if tensor is None else tensor.name for tensor in inputs)
    node = Node(op.name, op, names, (y.name, *(tensor.name for tensor in after)))
    kept = [
        State(state.name, following.name, initial_value(state))
        for state, following in zip(states, after, strict=True)
    ]
    by_name = {tensor.name: tensor for tensor in tensors}
    return verify(Graph(op.name, (node,), by_name, ("x",), (y.name,), tuple(kept)))


def watched(graph: Graph) -> Graph:
    """Return the graph with its states among the outputs."""
    return replace(graph, outputs=(*graph.outputs, *(state.write for state in graph.states)))


def dsp_kernels(make: Callable[[np.random.Generator], Graph], cases: int) -> set[str]:
    """Return the kernels that random graphs get on the DSP extension."""
    names = set()
    for seed in range(cases):
        graph = make(np.random.default_rng(seed))
        lowered = graph.nodes[0].op.lower(graph.operands(graph.nodes[0]))
        names.add(candidates(lowered, Isa.DSP)[0].name)
    return names


def assert_sequences_equal_micro(
    make: Callable[[np.random.Generator], Graph], seeds: Sequence[int] = range(CASES)
) -> None:
    """Run sequences of random graphs in the interpreter and TFLite Micro."""
    compared = 0
    for seed in seeds:
        rng = np.random.default_rng(seed)
        graph = make(rng)
        try:
            oracle = Micro(export_tflite(graph))
        except RefusedError:
            continue  # it takes some of our graphs only
        compared += 1
        session = Session(graph)
        for step in range(STEPS):
            inputs = [random_values(tensor, rng) for tensor in graph.input_tensors]
            (want,), (got,) = oracle.run(inputs, 1), session.run(inputs)
            message = f"seed {seed}, step {step}: {graph.nodes}"
            np.testing.assert_array_equal(got, want.reshape(got.shape), err_msg=message)
    assert compared >= len(seeds) // 2


def assert_sequences_are_sound(
    make: Callable[[np.random.Generator], Graph], folder: Path, isa: Isa, seeds: Sequence[int]
) -> None:
    """Run sequences of random graphs in C under the sanitizers; every byte must be right."""
    for seed in seeds:
        rng = np.random.default_rng(seed)
        graph = make(rng)
        files = emit(graph, plan_layers(graph, isa))
        model = SanitizedModel(graph, files, folder / str(seed))
        cases = [[random_values(x, rng) for x in graph.input_tensors] for _ in range(6)]
        session = Session(graph)
        for case, outputs in zip(cases, model.run(cases), strict=True):
            for got, want in zip(outputs, session.run(case), strict=True):
                np.testing.assert_array_equal(got, want, f"seed {seed}: {graph.nodes}")
