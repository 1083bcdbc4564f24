from __future__ import annotations

import pytest

pytest.importorskip("torch")

from examples.trained.data import Split, digits
from examples.trained.train import (
    accuracy,
    fine_tuned,
    float_accuracy,
    network,
    quantised,
    train,
)


def test_a_third_of_every_class_is_kept_apart() -> None:
    split = digits()
    assert len(split.train_x) + len(split.test_x) == 1797
    for one in range(10):
        kept, trained = ((y == one).sum() for y in (split.test_y, split.train_y))
        assert abs(2 * kept - trained) <= 2
    assert split.train_x.max() <= 1


@pytest.mark.slow
def test_a_network_is_trained_quantised_and_tuned() -> None:
    whole = digits()
    split = Split(whole.train_x[:600], whole.train_y[:600], whole.test_x[:200], whole.test_y[:200])
    graph, int8, wide = quantised(train(network(8), split, 25, rate=1e-2), split)
    tuned = fine_tuned(graph, int8, split, 1)
    real = float_accuracy(graph, split.test_x, split.test_y)
    assert real > 0.75
    shares = [accuracy(one, split.test_x, split.test_y) for one in (int8, wide, tuned)]
    assert min(shares) > real - 0.05
    assert shares[2] > shares[0] - 0.03
    assert tuned.nodes == int8.nodes
