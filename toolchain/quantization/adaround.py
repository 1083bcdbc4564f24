"""AdaRound: whether each weight is rounded up or down is learned, layer by layer, in PyTorch.

Between both there is a soft rounding, which gradient descent moves to where the layer's outputs are
nearest; a regulariser that grows sharper drives it to one of the ends.

Reference: M. Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization", ICML
2020, equation 20 for the loss, 21 to 24 for soft rounding and regulariser. Other than there, one of
the two levels is what rounding with feedback chose, where learning starts, and moments are damped
likewise: from a few hundred cases plain outputs are learned by heart.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from toolchain.quantization.least_squares import Floats, Values, damped

_LOW, _HIGH = -0.1, 1.1  # what the sigmoid is stretched to, so that it reaches 0 and 1
_DOUBT = 0.2  # of a step, between the level where learning starts and the other
_STEPS = 1000
_RATE = 0.05  # of Adam
_FREE = 0.2  # of the steps come before the regulariser
_FLAT, _SHARP = 20.0, 2.0  # exponents of the regulariser: first it acts near the ends alone
_WEIGHT = 10.0  # of the regulariser, against the loss in units of the first


def learned(second: Floats, wanted: Values, start: Values, scales: Floats, levels: int) -> Values:
    """Return weights on a grid whose outputs are no farther from those wanted than before.

    Args:
        second: moments of the inputs (groups, k, k).
        wanted: weights (groups, n, k) that give the outputs wanted.
        start: those that rounding chose, on the grid.
        scales: of the grid, (groups, n).
        levels: the greatest integer, and least but for its sign.

    Returns:
        The learned weights of every output that they make better, and ``start`` for the others.
    """
    import torch

    step = torch.from_numpy(np.asarray(scales[..., None], np.float32))
    metric = torch.from_numpy(damped(second).astype(np.float32))
    target, codes = torch.from_numpy(wanted) / step, (torch.from_numpy(start) / step).round()

    def loss(made: Any) -> Any:
        error = (made - target) * step
        return ((error @ metric) * error).sum(dim=2)

    rises = target > codes
    below = torch.where(rises, codes, codes - 1)
    share = (torch.where(rises, _DOUBT, 1 - _DOUBT) - _LOW) / (_HIGH - _LOW)
    soft = torch.nn.Parameter(share.logit())
    unit = loss(codes).clamp(min=torch.finfo(torch.float32).tiny)
    optimiser = torch.optim.Adam([soft], lr=_RATE)
    with _one_thread():
        for count in range(_STEPS):
            up = _up(soft)
            error = (loss((below + up).clamp(-levels, levels)) / unit).sum()
            error = error + _WEIGHT * _indecision(up, count / _STEPS)
            optimiser.zero_grad()
            error.backward()
            optimiser.step()
    made = (below + _up(soft.detach()).round()).clamp(-levels, levels)
    kept = torch.where((loss(made) < loss(codes))[..., None], made, codes)
    return np.asarray((kept * step).numpy(), np.float32)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute in one thread: for matrices of this size several wait for each other longer."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _up(soft: Any) -> Any:
    """Return how much of a step every weight is rounded up, from 0 to 1 (rectified sigmoid)."""
    return (soft.sigmoid() * (_HIGH - _LOW) + _LOW).clamp(0, 1)


def _indecision(up: Any, done: float) -> Any:
    """Return the regulariser, summed over outputs, when a share of the steps is ``done``."""
    late = (done - _FREE) / (1 - _FREE)
    if late < 0:
        return 0.0
    exponent = _SHARP + (_FLAT - _SHARP) * (1 + np.cos(np.pi * late)) / 2
    return (1 - (2 * up - 1).abs().pow(exponent)).mean(dim=2).sum()
