"""A float graph on batches in PyTorch: what a network that is fine-tuned learns from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from toolchain.errors import UsageError
from toolchain.ir import Graph
from toolchain.numerics import Activation
from toolchain.quantization.gradients import GRADIENTS
from toolchain.reference import run_float


def answers(graph: Graph, cases: Sequence[Any], batch: int = 64) -> list[Any]:
    """Return the outputs of a float graph for all cases, one tensor (N, *shape) each.

    Args:
        graph: a float graph.
        cases: one tensor (N, *shape) per graph input.
        batch: cases at a time.

    Raises:
        UsageError: E122 if the inputs have other shapes than the graph's.
    """
    import torch

    wanted = [tuple(x.shape[1:]) for x in graph.input_tensors]
    if wanted != [tuple(x.shape[1:]) for x in cases]:
        raise UsageError("E122", "the teacher takes inputs of other shapes than the graph")
    together = _cases_stay_apart(graph)
    parts = zip(*(x.split(batch if together else 1) for x in cases), strict=True)
    made = [_outputs(graph, part) if together else _alone(graph, part) for part in parts]
    return [torch.cat(one) for one in zip(*made, strict=True)]


def _cases_stay_apart(graph: Graph) -> bool:
    """Tell whether all of the graph can be computed for a batch."""
    tensors = [t for t in graph.tensors.values() if not t.is_constant]
    return all(type(node.op) in GRADIENTS for node in graph.nodes) and all(
        x.shape[:1] == (1,) and x.quant is None for x in tensors
    )


def _alone(graph: Graph, case: Sequence[Any]) -> list[Any]:
    import torch

    return [torch.from_numpy(y) for y in run_float(graph, [x.numpy() for x in case])]


def _outputs(graph: Graph, inputs: Sequence[Any]) -> list[Any]:
    import torch

    values = {n: torch.tensor(t.values) for n, t in graph.tensors.items() if t.is_constant}
    values.update(zip(graph.inputs, inputs, strict=True))
    for node in graph.nodes:
        given = [values[name] for name in node.inputs if name is not None]
        made = GRADIENTS[type(node.op)](node.op, graph.operands(node), given)
        low, high = getattr(node.op, "activation", Activation.NONE).value
        results = made if isinstance(made, tuple) else (made,)
        values.update(
            (name, y.clamp(low, high)) for name, y in zip(node.outputs, results, strict=True)
        )
    return [values[name] for name in graph.outputs]
