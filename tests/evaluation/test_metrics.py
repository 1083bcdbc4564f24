from __future__ import annotations

import math

import numpy as np
import pytest

from tests.quantization.networks import float_graph, inputs
from toolchain.evaluation import (
    area_under_roc,
    confusion,
    layer_drops,
    reconstruction_errors,
    top_share,
)
from toolchain.quantization import prepare, quantize_ready
from toolchain.reference import run_float


@pytest.mark.parametrize("seed", range(10))
def test_figures_equal_those_of_scikit_learn(seed: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(seed)
    scores = rng.normal(0, 1, (200, 6))
    labels = rng.integers(0, 6, 200)
    for k in (1, 2, 5):
        want = metrics.top_k_accuracy_score(labels, scores, k=k, labels=range(6))
        assert top_share(scores, labels, k) == pytest.approx(want)
    want = metrics.confusion_matrix(labels, scores.argmax(axis=1), labels=range(6))
    np.testing.assert_array_equal(confusion(scores, labels), want)
    rough = np.round(rng.normal(0, 1, 200), 1)  # with ties
    anomalies = (rough + rng.normal(0, 1, 200) > 0.5).astype(int)
    want = metrics.roc_auc_score(anomalies, rough)
    assert area_under_roc(rough, anomalies) == pytest.approx(want)


def test_the_area_needs_cases_of_both_kinds() -> None:
    assert math.isnan(area_under_roc(np.ones(3), np.zeros(3, int)))


def test_reconstruction_errors_are_means_per_case() -> None:
    inputs_ = np.array([[[1.0, 2.0]], [[0.0, 0.0]]])
    outputs = np.array([[1.0, 4.0], [1.0, 1.0]])
    np.testing.assert_allclose(reconstruction_errors(inputs_, outputs), [2.0, 1.0])


def test_layers_are_sorted_by_what_their_rounding_alone_costs() -> None:
    graph = float_graph(0)
    cases = inputs(graph, 24, 0)
    ready = prepare(graph, cases)
    quantised = quantize_ready(ready, cases)
    labels = np.array([run_float(graph, case)[0].argmax() for case in cases])
    drops = layer_drops(ready.graph, quantised, cases, labels)
    assert {graph.inputs[0], graph.outputs[0]} <= {one.tensor for one in drops}
    assert [one.drop for one in drops] == sorted((one.drop for one in drops), reverse=True)
    assert all(one.top1 == pytest.approx(1 - one.drop) for one in drops)
