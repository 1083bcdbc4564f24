"""Least squares for the weights of one layer: fitted to outputs, then rounded with feedback.

Layers are given as groups (of a convolution) of n outputs, each a sum of k inputs times weights,
with samples of inputs as rows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

_DAMPING = 0.01  # of the mean square of the inputs
_SPREAD = 0.1  # by which scales that are tried lie off the first
_WORK = 2**12  # inputs per output times tries: for long sums each scale loses nearly the same
_TRUST = 0.1  # as much again for weights that are to stay where training left them

Floats = npt.NDArray[np.float64]
Values = npt.NDArray[np.float32]


def moments(x: Values) -> Floats:
    """Return the second moments of inputs (groups, rows, k) as (groups, k, k)."""
    second: Floats = (x.swapaxes(1, 2) @ x).astype(np.float64) / x.shape[1]
    return second


def fitted(second: Floats, x: Values, y: Values, weights: Values) -> Values:
    """Return the weights whose outputs on ``x`` are nearest ``y``, and that stay near ``weights``.

    Args:
        second: moments of ``x``.
        x: inputs (groups, rows, k).
        y: outputs that are wanted (groups, rows, n).
        weights: (groups, n, k).
    """
    left = y - x @ weights.swapaxes(1, 2)
    gradient = (x.swapaxes(1, 2) @ left) / x.shape[1]
    step = np.linalg.solve(damped(second, _TRUST), gradient.astype(np.float64))
    return weights + step.swapaxes(1, 2).astype(np.float32)


def rounded(second: Floats, weights: Values, scales: Floats, levels: int = 127) -> Values:
    """Return weights on the grid of ``scales``, whose outputs are near those before.

    The inputs with the most energy are rounded first. Each next weight is moved, before it is
    rounded, to where it makes up best for the errors so far: with ``R' R`` the second moments,
    weight j by ``sum_i R[j, i] error[i] / R[j, j]``. That is the rounding of GPTQ (E. Frantar et
    al., ICLR 2023, section 3) without the inverse: Babai's nearest plane.

    Args:
        second: moments of the inputs (groups, k, k).
        weights: (groups, n, k).
        scales: (groups, n).
        levels: the greatest integer, and least but for its sign.
    """
    return _nearest_plane(_factored(second), weights, scales, levels)


class _Factored(NamedTuple):
    """Second moments as ``R' R``, least energy first.

    Attributes:
        order: of the inputs (groups, k).
        lower: ``R'``, shape (groups, k, k).
    """

    order: npt.NDArray[np.int64]
    lower: Floats


def _factored(second: Floats) -> _Factored:
    order = np.argsort(np.diagonal(second, axis1=1, axis2=2), axis=1)
    second = damped(second)
    second = np.take_along_axis(second, order[:, :, None], 1)
    second = np.take_along_axis(second, order[:, None, :], 2)
    return _Factored(order, np.asarray(np.linalg.cholesky(second), np.float64))


def _nearest_plane(factored: _Factored, weights: Values, scales: Floats, levels: int) -> Values:
    """Return rounded weights; see `rounded`."""
    order, lower = factored
    wanted = np.take_along_axis(weights, order[:, None, :], 2).astype(np.float64)
    made, error = np.empty_like(wanted), np.zeros_like(wanted)
    for place in reversed(range(wanted.shape[2])):  # R[place, i] is lower[i, place]
        share = lower[:, place + 1 :, place, None] / lower[:, place, place, None, None]
        target = wanted[:, :, place] + (error[:, :, place + 1 :] @ share)[:, :, 0]
        made[:, :, place] = np.clip(np.rint(target / scales), -levels, levels) * scales
        error[:, :, place] = wanted[:, :, place] - made[:, :, place]
    back = np.argsort(order, axis=1)
    return np.take_along_axis(made, back[:, None, :], 2).astype(np.float32)


def rounded_at_best(
    second: Floats, weights: Values, scales: Floats, least: Floats, tries: int, levels: int = 127
) -> tuple[Values, Floats]:
    """Return `rounded` weights and their scales, of those near ``scales`` the ones that lose least.

    What rounding loses is luck: scales a few percent apart give errors that differ by decibels, the
    more the fewer weights share an output.

    Args:
        second: moments of the inputs (groups, k, k).
        weights: (groups, n, k).
        scales: (groups, n).
        least: scales that must not be undercut, of that shape.
        tries: how many scales are tried at most, an odd number.
        levels: the greatest integer, and least but for its sign.
    """
    tries = 2 * (min(tries, _WORK // weights.shape[2]) // 2) + 1
    factored, cost = _factored(second), np.full(scales.shape, np.inf)
    made, found = np.empty_like(weights), scales
    for factor in 1 + _SPREAD * np.linspace(-1, 1, tries) if tries > 1 else (1.0,):
        tried = np.maximum(scales * factor, least).astype(np.float32).astype(np.float64)
        values = _nearest_plane(factored, weights, tried, levels)
        error = (values - weights).astype(np.float64)
        lost = ((error @ second) * error).sum(axis=2)
        better = lost < cost
        cost, found = np.where(better, lost, cost), np.where(better, tried, found)
        made = np.where(better[..., None], values, made)
    return made, found


def damped(second: Floats, share: float = _DAMPING) -> Floats:
    """Return moments with ``share`` of their mean added to the diagonal."""
    size = second.shape[-1]
    mean = np.trace(second, axis1=1, axis2=2) / size
    mean = np.where(mean > 0, mean, 1.0)
    found: Floats = second + share * mean[:, None, None] * np.eye(size)
    return found
