from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from examples.trained.data import digits  # noqa: E402
from examples.trained.qat import FakeQuantised, fake_quantized  # noqa: E402
from tests.quantization.networks import inputs  # noqa: E402
from tests.quantization.test_equalize import uneven  # noqa: E402
from toolchain.ir import Array, Graph, Quant, run  # noqa: E402
from toolchain.quantization import calibrate, prepare, quantize_graph  # noqa: E402
from toolchain.quantization.activations import activation_quants  # noqa: E402
from toolchain.quantization.ranges import minmax  # noqa: E402
from toolchain.quantization.report import integer_case, real_values  # noqa: E402
from toolchain.reference import fake_quantize  # noqa: E402


def outputs(graph: Graph, cases: list[list[Array]]) -> Array:
    made = [run(graph, integer_case(graph, case))[0] for case in cases]
    return np.concatenate([real_values(graph.output_tensors[0], y) for y in made])


def test_a_third_of_every_class_is_kept_apart() -> None:
    split = digits()
    assert len(split.train_x) + len(split.test_x) == 1797
    for one in range(10):
        kept, trained = ((y == one).sum() for y in (split.test_y, split.train_y))
        assert abs(2 * kept - trained) <= 2
    assert split.train_x.max() <= 1


def test_rounding_equals_the_references_and_gradients_stop_at_the_clip() -> None:
    quant = Quant.per_tensor(0.1, 20)
    x = torch.linspace(-30, 30, 1001, requires_grad=True)
    y = fake_quantized(x, quant)
    np.testing.assert_allclose(y.detach(), fake_quantize(x.detach().numpy(), quant), atol=1e-6)
    y.sum().backward()
    inside = (x > -14.8) & (x < 10.7)
    np.testing.assert_array_equal(x.grad[inside], 1)
    np.testing.assert_array_equal(x.grad[(x < -14.81) | (x > 10.71)], 0)


@pytest.mark.parametrize("seed", range(3))
def test_the_module_computes_what_the_integer_graph_computes(seed: int) -> None:
    graph = uneven(seed)
    cases = inputs(graph, 32, seed)
    graph = prepare(graph, cases)
    quants = activation_quants(graph, calibrate(graph, cases), minmax)
    module = FakeQuantised(graph, quants)
    x = torch.tensor(np.concatenate([case[0] for case in cases]))
    made = quantize_graph(module.tuned(), quants, {})
    with torch.no_grad():
        expected = module(x).numpy()
    distance = np.abs(outputs(made, cases) - expected) / made.output_tensors[0].scale
    assert distance.max() <= 4  # a step in a layer, next to a tie, grows behind it
    assert distance.mean() <= 0.5
