"""Quantisation-aware fine-tuning: an integer graph as a PyTorch module.

Forward, the module computes what the interpreter computes, integer by integer, so that what is
trained is what will run. Backward, gradients pass every operator as if it computed with real
numbers, and rounding as if it were not there; they stop where values are clipped (straight-through
estimator). Weights and biases are trained, their scales and those of activations stay. Weights that
end between two integers would jump from one to the other until the last step decides by chance, the
more the fewer bits they have: towards the end they are drawn to the integer they are nearest.

References: B. Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", CVPR 2018, section 3; G. Hinton et al., "Distilling the
Knowledge in a Neural Network", 2015, section 2.1, for logits as targets; Y. Bengio et al.,
"Estimating or Propagating Gradients Through Stochastic Neurons", 2013, for the estimator; M. Nagel
et al., "Overcoming Oscillations in Quantization-Aware Training", ICML 2022, section 4.1, for what
draws weights to integers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from toolchain.errors import UsageError
from toolchain.ir import Graph
from toolchain.quantization.straight_through import Network
from toolchain.quantization.teacher import answers

Loss = Callable[[Any, Any], Any]
_KEPT_BACK = 0.1  # of the cases
_LATE = 2  # power of the share of the rate that is gone: weights are drawn to integers last


def finetune(
    graph: Graph,
    inputs: Any,
    targets: Any = None,
    loss: Loss | None = None,
    *,
    teacher: Graph | None = None,
    epochs: int = 5,
    batch: int = 64,
    rate: float = 0.02,
    damping: float = 30.0,
    seed: int = 0,
) -> Graph:
    """Return an integer graph with weights and biases that were trained further.

    A tenth of the cases is kept back. The network of the epoch that is best on them is returned:
    ``graph`` itself if training made nothing better.

    Args:
        graph: an int8, int16 or mixed graph; its inputs in whatever layout.
        inputs: an array or tensor (N, *shape) of real values for a graph of one input, else a
            sequence of one per input.
        targets: an array or tensor of N; not needed beside a teacher.
        loss: of a batch of real outputs (a tuple where the graph has several) and targets;
            cross-entropy if not given.
        teacher: the float graph that ``graph`` was made of. Its outputs are to be met, too: the
            mean squared difference to them, over their variance, is added to the loss.
        epochs: passes over the data.
        batch: cases per step.
        rate: the first step size of Adam, in steps of the grids; it falls to zero as a half cosine.
        damping: how strongly weights are drawn to integers at the end: weight of their mean squared
            distance, in steps of the grid, against the loss at the start.
        seed: of the order of cases, and of those that are kept back.

    Raises:
        UsageError: E115 if the loss is not finite, E122 if shapes do not fit or there is neither
            target nor teacher.
        ModelError: E202 as `fake_quantised`.
    """
    import torch

    module = fake_quantised(graph)
    lesson = _lesson(graph, inputs, targets, loss, teacher)
    order = torch.Generator().manual_seed(seed)
    seen, kept = _parted(torch.randperm(lesson.count, generator=order))
    optimiser = torch.optim.Adam(module.parameters(), lr=rate)
    steps = epochs * -(-len(seen) // batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(steps, 1))
    first = least = lesson.mean(module, kept.split(batch))
    best = graph
    for _ in range(epochs):
        parts = seen[torch.randperm(len(seen), generator=order)].split(batch)
        _train(module, lesson, parts, schedule, damping * first)
        reached = lesson.mean(module, kept.split(batch))
        if reached < least:
            least, best = reached, module.quantised()
    return best


def _parted(rows: Any) -> tuple[Any, Any]:
    """Return the rows to learn from and those that judge what was learned: the same if few."""
    kept = rows[: round(_KEPT_BACK * len(rows))]
    seen = rows[len(kept) :]
    return seen, kept if len(kept) else seen


def _train(
    module: Any, lesson: _Lesson, parts: Sequence[Any], schedule: Any, damping: float
) -> None:
    """Take a step for each part; the less of the rate is left, the more are weights drawn."""
    (whole_rate,) = schedule.base_lrs
    for part in parts:
        settled = 1 - schedule.get_last_lr()[0] / whole_rate
        error = lesson.loss(module, part) + damping * settled**_LATE * unrest(module)
        schedule.optimizer.zero_grad()
        error.backward()
        schedule.optimizer.step()
        schedule.step()


def unrest(module: Any) -> Any:
    """Return the mean squared distance of weights to integers, in steps of their grids.

    Args:
        module: made by `fake_quantised`.
    """
    weights = [one for one in module.parameters() if one.ndim > 1]  # biases have one dimension
    distances = sum((one - one.detach().round()).square().sum() for one in weights)
    return distances / max(sum(one.numel() for one in weights), 1)


@dataclass(frozen=True, eq=False)
class _Lesson:
    """What is to be learned.

    Attributes:
        count: of cases.
        cases: one tensor (N, *shape) per graph input.
        targets: N, if there are any.
        judge: of outputs and targets.
        taught: outputs of the teacher (N, *shape); none without one.
    """

    count: int
    cases: Sequence[Any]
    targets: Any
    judge: Loss
    taught: Sequence[Any]

    def loss(self, module: Any, rows: Any) -> Any:
        """Return the loss of some cases.

        Raises:
            UsageError: E115 if it is not finite.
        """
        made = module(*(x[rows] for x in self.cases))
        parts = [] if self.targets is None else [self.judge(made, self.targets[rows])]
        outputs = made if isinstance(made, tuple) else (made,)
        for output, wanted in zip(outputs, self.taught, strict=False):
            spread = wanted.var(correction=0).clamp(min=1e-12)
            parts.append((output - wanted[rows]).square().mean() / spread)
        error = sum(parts)
        if not error.isfinite():
            raise UsageError("E115", "the loss is not finite", hints=["a smaller rate"])
        return error

    def mean(self, module: Any, parts: Sequence[Any]) -> float:
        """Return the mean loss of the cases of all parts, without training."""
        import torch

        with torch.no_grad():
            losses = [float(self.loss(module, rows)) * len(rows) for rows in parts]
        return sum(losses) / sum(len(rows) for rows in parts)


def _lesson(
    graph: Graph, inputs: Any, targets: Any, loss: Loss | None, teacher: Graph | None
) -> _Lesson:
    """Return what is to be learned, checked."""
    import torch
    from torch.nn import functional

    if targets is None and teacher is None:
        raise UsageError("E122", "fine-tuning needs targets, or the float graph as teacher")
    first = inputs if hasattr(inputs, "shape") else inputs[0]
    count = len(first) if targets is None else len(targets)
    cases = _batches(graph, inputs, count)
    taught = [] if teacher is None else answers(teacher, cases)
    wanted = None if targets is None else torch.as_tensor(targets)
    return _Lesson(count, cases, wanted, loss or functional.cross_entropy, taught)


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
