"""Figures of merit of N answers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from toolchain.ir import Array

Floats = npt.NDArray[np.float64]


def top_share(scores: Array, labels: Array, k: int = 1) -> float:
    """Return the share of cases whose label is among the ``k`` greatest scores.

    Of equal scores the first counts as greater, as for ``argmax``.

    Args:
        scores: shape (N, classes).
        labels: integers, shape (N,).
        k: how many answers a case has.
    """
    best = np.argsort(-scores.astype(np.float64), axis=1, kind="stable")[:, :k]
    return float((best == labels[:, None]).any(axis=1).mean())


def confusion(scores: Array, labels: Array) -> Array:
    """Return how often each label (rows) got each answer (columns), shape (classes, classes)."""
    classes = scores.shape[1]
    pairs = labels.astype(np.int64) * classes + scores.argmax(axis=1)
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def reconstruction_errors(inputs: Array, outputs: Array) -> Floats:
    """Return the mean squared error between input and output of every case, shape (N,)."""
    count = len(inputs)
    difference = inputs.reshape(count, -1).astype(np.float64) - outputs.reshape(count, -1)
    errors: Floats = np.square(difference).mean(axis=1)
    return errors


def area_under_roc(scores: Array, labels: Array) -> float:
    """Return the chance that an anomaly (label 1) scores higher than a normal case (label 0).

    Equal scores count one half: the Mann-Whitney statistic, which is the area under the curve.

    Returns:
        NaN unless there are cases of both kinds.
    """
    anomalies, normal = scores[labels == 1], np.sort(scores[labels == 0])
    if not len(anomalies) or not len(normal):
        return float("nan")
    below = np.searchsorted(normal, anomalies, side="left")
    not_above = np.searchsorted(normal, anomalies, side="right")
    return float((below + not_above).mean() / 2 / len(normal))
