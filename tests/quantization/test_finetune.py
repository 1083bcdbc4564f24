from __future__ import annotations

import numpy as np
import pytest

import toolchain as ts
from tests.formats.onnx_graphs import model
from tests.quantization.networks import float_graph, inputs, node
from tests.quantization.test_equalize import uneven
from toolchain.errors import ModelError, UsageError
from toolchain.importers.onnx import import_onnx
from toolchain.ir import Array, DType, Graph, constant, run, verify
from toolchain.numerics import Activation
from toolchain.quantization import compare_layers, quantize
from toolchain.quantization.finetune import fake_quantised, finetune, unrest
from toolchain.quantization.gradients import GRADIENTS
from toolchain.quantization.report import integer_case, real_values
from toolchain.quantization.teacher import answers
from toolchain.reference import run_float
from toolchain.reference.operators import evaluate

torch = pytest.importorskip("torch")

PRECISIONS = ({}, {"activations": "int16"}, {"int16": ["conv2d*"], "int4": ["*"]})


def moves() -> Graph:
    """Return a network of operators that the others lack."""
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.normal(0, 0.4, (6, 4, 3, 3)).astype(np.float32),
        "v": rng.normal(0, 0.4, (5, 6)).astype(np.float32),
        "c": rng.normal(0, 1, (1, 6, 1, 1)).astype(np.float32),
    }
    nodes = [
        node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
        node("LeakyRelu", ["a"], ["b"], alpha=0.2),
        node("Tanh", ["b"], ["t"]),
        node("Sub", ["t", "c"], ["s"]),
        node("AveragePool", ["s"], ["p"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        node("GlobalAveragePool", ["p"], ["g"]),
        node("Flatten", ["g"], ["f"]),
        node("Gemm", ["f", "v"], ["l"], transB=1),
        node("Softmax", ["l"], ["y"]),
    ]
    return import_onnx(model(nodes, {"x": [1, 4, 8, 6]}, constants), "net")


def attention() -> Graph:
    """Return a transformer of one block, with a token of its own and a slice at the end."""
    from examples.vision.transformer import VisionTransformer

    torch.manual_seed(5)
    module = VisionTransformer(8, 4, width=8, depth=1, classes=4, channels=2)
    return ts.import_torch(module, torch.zeros(1, 2, 8, 8))


def batch(cases: list[list[Array]]) -> Array:
    return np.concatenate([case[0] for case in cases])


def outputs(graph: Graph, cases: list[list[Array]]) -> Array:
    made = [run(graph, integer_case(graph, case))[0] for case in cases]
    return np.concatenate([real_values(graph.output_tensors[0], y) for y in made])


@pytest.mark.parametrize("options", PRECISIONS)
@pytest.mark.parametrize("make", [float_graph, uneven, lambda _: moves(), lambda _: attention()])
def test_the_module_computes_what_the_interpreter_computes(make, options) -> None:  # type: ignore[no-untyped-def]
    graph = make(3)
    cases = inputs(graph, 12, 3)
    quantised = quantize(graph, cases, **options)
    module = fake_quantised(quantised)
    before = module(torch.tensor(batch(cases)))
    np.testing.assert_array_equal(before.detach(), np.float32(outputs(quantised, cases)))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            spread = 0.05 * parameter.abs().mean()
            parameter.add_(spread * torch.randn(parameter.shape, generator=generator))
    after = module(torch.tensor(batch(cases)))
    tuned = verify(module.quantised())
    np.testing.assert_array_equal(after.detach(), np.float32(outputs(tuned, cases)))
    assert not torch.equal(before, after)


@pytest.mark.parametrize("make", [float_graph, uneven, lambda _: moves()])
def test_gradients_belong_to_the_float_operators(make) -> None:  # type: ignore[no-untyped-def]
    """Each twin gives the float reference's values, so that autograd gives its gradients."""
    check_twins(make(1))


def test_gradients_of_attention_belong_to_the_float_operators() -> None:
    graph = attention()
    check_twins(graph)
    cases = inputs(graph, 70, 1)
    want = np.concatenate([run_float(graph, case)[0] for case in cases])
    (got,) = answers(graph, [torch.tensor(batch(cases))])
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-5)


def check_twins(graph: Graph) -> None:
    rng = np.random.default_rng(1)
    for one in graph.nodes:
        operands = graph.operands(one)
        given = [
            x.values if x.is_constant else rng.normal(0, 2, x.shape).astype(np.float32)
            for x in operands.inputs
            if x is not None
        ]
        wanted = evaluate(one.op, operands, given)
        made = GRADIENTS[type(one.op)](one.op, operands, [torch.tensor(x) for x in given])
        results = made if isinstance(made, tuple) else (made,)
        for got, want in zip(results, wanted, strict=True):
            clipped = got.numpy().clip(*getattr(one.op, "activation", Activation.NONE).value)
            np.testing.assert_allclose(clipped, want, rtol=1e-4, atol=1e-5)


def test_gradients_reach_every_parameter_and_stop_at_the_clip() -> None:
    graph = uneven(0)
    cases = inputs(graph, 8, 0)
    module = fake_quantised(quantize(graph, cases))
    x = torch.tensor(batch(cases), requires_grad=True)
    module(x).square().sum().backward()
    assert all(one.grad.abs().sum() > 0 for one in module.parameters())
    assert x.grad.abs().sum() > 0
    far = torch.full_like(x, 1e3, requires_grad=True)
    module(far).square().sum().backward()
    assert far.grad.abs().sum() == 0


def coarser(graph: Graph) -> Graph:
    """Return a graph whose weights have eleven levels."""
    weights = [
        constant(x.name, (np.rint(x.values / 24) * 24).clip(-120, 120).astype(np.int8), x.quant)
        for x in graph.tensors.values()
        if x.is_constant and x.dtype is DType.INT8
    ]
    return graph.with_nodes(graph.nodes, weights)


def test_training_gains_where_weights_have_four_bits() -> None:
    graph = attention()
    cases, test = inputs(graph, 256, 3), inputs(graph, 32, 900)
    narrow = quantize(graph, cases[:64], int4=["*"])
    made = ts.finetune(narrow, batch(cases), teacher=graph, epochs=8, batch=16, rate=0.1)
    before, after = (compare_layers(graph, one, test)[-1].sqnr_db for one in (narrow, made))
    assert after > before + 2
    assert {x.dtype for x in verify(made).tensors.values()} >= {DType.INT4, DType.INT8}


def test_training_makes_up_for_coarse_weights() -> None:
    graph = uneven(3)
    cases, test = inputs(graph, 128, 3), inputs(graph, 16, 90)
    coarse = coarser(quantize(graph, cases[:32]))
    wanted = np.concatenate([run_float(graph, case)[0] for case in cases])
    loss = torch.nn.functional.mse_loss

    def tuned() -> Graph:
        return ts.finetune(coarse, batch(cases), wanted, loss, epochs=5, batch=16, rate=0.3)

    made = tuned()
    before, after = (compare_layers(graph, one, test)[-1].sqnr_db for one in (coarse, made))
    assert after > before + 6
    for name, tensor in tuned().tensors.items():  # the same seed, the same weights
        if tensor.is_constant:
            np.testing.assert_array_equal(tensor.values, made.tensors[name].values)


def test_a_teacher_needs_no_targets() -> None:
    graph = attention()
    cases, test = inputs(graph, 200, 3), inputs(graph, 32, 90)
    coarse = coarser(quantize(graph, cases[:32]))
    made = ts.finetune(coarse, batch(cases), teacher=graph, epochs=4, batch=16, rate=0.3)
    before, after = (compare_layers(graph, one, test)[-1].sqnr_db for one in (coarse, made))
    assert after > before + 3
    with pytest.raises(UsageError, match="targets, or the float graph"):
        ts.finetune(coarse, batch(cases))
    with pytest.raises(UsageError, match="other shapes"):
        ts.finetune(coarse, batch(cases), teacher=uneven(0))


def test_training_that_does_harm_changes_nothing() -> None:
    graph = uneven(1)
    cases = inputs(graph, 64, 1)
    quantised = quantize(graph, cases[:32])
    assert ts.finetune(quantised, batch(cases), teacher=graph, epochs=2, rate=50) is quantised


def test_unrest_draws_weights_to_integers_and_leaves_biases() -> None:
    graph = uneven(3)
    module = fake_quantised(quantize(graph, inputs(graph, 8, 3), int4=["*"]))
    assert unrest(module) == 0
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.25)
    found = unrest(module)
    np.testing.assert_allclose(found.item(), 0.0625)
    found.backward()
    for parameter in module.parameters():
        biases = parameter.ndim == 1
        assert parameter.grad is None if biases else bool((parameter.grad > 0).all())


def test_what_cannot_be_trained_is_refused() -> None:
    graph = float_graph(0)
    cases = inputs(graph, 4, 0)
    quantised = quantize(graph, cases)
    with pytest.raises(UsageError, match="as many as targets") as caught:
        finetune(quantised, batch(cases), np.zeros(3, np.int64))
    assert caught.value.code == "E122"
    with pytest.raises(UsageError, match="not finite"):
        finetune(quantised, batch(cases), np.zeros(4), lambda y, _: y.sum() * float("nan"))
    logs = import_onnx(model([node("LogSoftmax", ["x"], ["y"])], {"x": [1, 4]}, {}), "net")
    with pytest.raises(ModelError, match="the operator log_softmax cannot be trained") as refused:
        fake_quantised(quantize(logs, inputs(logs, 4, 0)))
    assert refused.value.code == "E202"
    turned = import_onnx(
        model([node("Transpose", ["x"], ["y"], perm=[1, 0])], {"x": [1, 4]}, {}), "net"
    )
    with pytest.raises(ModelError, match="mixes the cases"):
        fake_quantised(quantize(turned, inputs(turned, 4, 0)))
