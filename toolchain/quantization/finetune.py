"""Quantisation-aware fine-tuning: an integer graph as a PyTorch module.

Forward, the module computes what the interpreter computes, integer by integer, so that what is
trained is what will run. Backward, gradients pass every operator as if it computed with real
numbers, and rounding as if it were not there; they stop where values are clipped (straight-through
estimator). Weights and biases are trained, their scales and those of activations stay.

References: B. Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", CVPR 2018, section 3; Y. Bengio et al., "Estimating or
Propagating Gradients Through Stochastic Neurons", 2013, for the estimator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from toolchain.errors import UsageError
from toolchain.ir import Graph
from toolchain.quantization.straight_through import Network

Loss = Callable[[Any, Any], Any]


def finetune(
    graph: Graph,
    inputs: Any,
    targets: Any,
    loss: Loss | None = None,
    *,
    epochs: int = 5,
    batch: int = 64,
    rate: float = 0.02,
    seed: int = 0,
) -> Graph:
    """Return an integer graph with weights and biases that were trained further.

    Args:
        graph: an int8, int16 or mixed graph; its inputs in whatever layout.
        inputs: an array or tensor (N, *shape) of real values for a graph of one input, else a
            sequence of one per input.
        targets: an array or tensor of N.
        loss: of a batch of real outputs (a tuple where the graph has several) and targets;
            cross-entropy if not given.
        epochs: passes over the data.
        batch: cases per step.
        rate: the first step size of Adam, in steps of the grids; it falls to zero as a half cosine.
        seed: of the order of cases.

    Raises:
        UsageError: E115 if the loss is not finite, E122 if shapes do not fit.
        ModelError: E202 as `fake_quantised`.
    """
    import torch
    from torch.nn import functional

    module = fake_quantised(graph)
    cases = _batches(graph, inputs, len(targets))
    wanted, judge = torch.as_tensor(targets), loss or functional.cross_entropy
    optimiser = torch.optim.Adam(module.parameters(), lr=rate)
    steps = epochs * -(-len(wanted) // batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(steps, 1))
    order = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for rows in torch.randperm(len(wanted), generator=order).split(batch):
            error = judge(module(*(x[rows] for x in cases)), wanted[rows])
            if not torch.isfinite(error):
                raise UsageError("E115", "the loss is not finite", hints=["a smaller rate"])
            optimiser.zero_grad()
            error.backward()
            optimiser.step()
            schedule.step()
    return module.quantised()  # type: ignore[no-any-return]


def fake_quantised(graph: Graph) -> Any:
    """Return a ``torch.nn.Module`` that computes what an integer graph computes.

    It maps batches of real inputs (N, *shape) to real outputs, a tuple if there are several. Its
    parameters, all float64, are weights in steps of their grids and biases in steps of their
    layer's output: a rate means the same for all layers, however large their values are. Its
    method ``quantised()`` returns the graph with the parameters of now: on every case
    the interpreter makes of it exactly the outputs of the module.

    Args:
        graph: an integer graph without states.

    Raises:
        ModelError: E202 for an operator or type that is not trained, or one that mixes the cases
            of a batch.
    """
    from torch import nn

    network = Network(graph)

    class FakeQuantised(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.trained = nn.ParameterList(one.start() for one in network.trained)

        def forward(self, *inputs: Any) -> Any:
            return network.forward(self.trained, inputs)

        def quantised(self) -> Graph:
            return network.with_parameters(self.trained)

    return FakeQuantised()


def _batches(graph: Graph, inputs: Any, count: int) -> list[Any]:
    """Return one tensor (N, *shape) per graph input.

    Raises:
        UsageError: E122 for other shapes.
    """
    import torch

    given = [inputs] if len(graph.inputs) == 1 and hasattr(inputs, "shape") else list(inputs)
    found = [torch.as_tensor(one, dtype=torch.float32) for one in given]
    shapes = [(count, *x.shape[1:]) for x in graph.input_tensors]
    if [tuple(one.shape) for one in found] != shapes or not count:
        wanted = " and ".join(str(list(shape)) for shape in shapes)
        raise UsageError("E122", f"fine-tuning needs arrays {wanted}, as many as targets")
    return found
