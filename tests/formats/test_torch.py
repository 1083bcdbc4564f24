"""PyTorch modules as graphs: what PyTorch computes, channels last, without a transpose."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import toolchain as ts
from toolchain.errors import ModelError
from toolchain.importers import import_float
from toolchain.ir import Graph
from toolchain.passes import channels_last_inputs, simplify
from toolchain.quantization import compare_layers

torch = pytest.importorskip("torch")
nn, functional = torch.nn, torch.nn.functional


class Function(nn.Module):  # type: ignore[misc, name-defined]
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Any) -> Any:
        return self.function(*inputs)


def randomised(module: Any) -> Any:
    """Give normalisations statistics that do something."""
    for one in module.modules():
        if isinstance(one, nn.BatchNorm2d | nn.BatchNorm1d):
            one.running_mean.uniform_(-0.5, 0.5)
            one.running_var.uniform_(0.5, 2)
            nn.init.uniform_(one.weight, 0.5, 1.5)
    return module


def assert_equals_torch(module: Any, *inputs: Any) -> Graph:
    module.eval()
    graph = ts.import_torch(module, inputs)
    with torch.no_grad():
        made = module(*inputs)
    wanted = made if isinstance(made, tuple | list) else [made]
    got = ts.run_float(graph, [x.numpy() for x in inputs])
    for ours, theirs in zip(got, wanted, strict=True):
        assert ours.shape == tuple(theirs.shape)
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=2e-4, atol=2e-4)
    return graph


def copies(graph: Graph) -> int:
    """Return the transposes that are left when the caller gives channels last."""
    return sum(node.op.name == "transpose" for node in channels_last_inputs(graph).nodes)


MAP, SEQUENCE, ROWS = (1, 6, 9, 8), (1, 6, 12), (1, 5, 8)
FUNCTIONS: dict[str, tuple[Callable[..., Any], tuple[int, ...]]] = {
    "activations": (lambda x: functional.hardswish(functional.relu6(x) - 1).tanh(), MAP),
    "gates": (lambda x: functional.silu(x) * functional.hardsigmoid(x) + x.sigmoid(), MAP),
    "tables": (lambda x: functional.gelu(x) + functional.elu(x) - x.exp(), MAP),
    "gelu with tanh": (lambda x: functional.gelu(x, approximate="tanh"), MAP),
    "softplus": (lambda x: functional.softplus(x, beta=2) + functional.logsigmoid(x), MAP),
    "elu of any slope": (lambda x: functional.elu(x, 0.5) + functional.celu(x, 0.7), MAP),
    "selu": (lambda x: functional.selu(x) + functional.mish(x) - functional.softsign(x), MAP),
    "threshold": (lambda x: functional.threshold(x, 0.3, -2) + functional.tanhshrink(x), MAP),
    "waves": (lambda x: x.sin() + x.cos() + x.atan(), MAP),
    "logarithms": (lambda x: x.abs().log1p() + x.expm1(), MAP),
    "powers": (lambda x: (x.abs() + 0.3) ** 0.7 + 1 / (x * x + 0.5), MAP),
    "quotient": (lambda x: x / (x.abs().sum(1, keepdim=True) + 0.5), MAP),
    "normalised": (lambda x: functional.normalize(x, dim=1), MAP),
    "greatest": (lambda x: x.amax((2, 3)) - x.amin((2, 3)), MAP),
    "greatest and place": (lambda x: x.max(1), ROWS),
    "least and place": (lambda x: x.min(2, keepdim=True), ROWS),
    "top": (lambda x: x.topk(1, 1), ROWS),
    "channel attention": (
        lambda x: torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], 1),
        MAP,
    ),
    "norm": (lambda x: x.norm(dim=1) + x.abs().sum(1), MAP),
    "einsum": (
        lambda x: torch.einsum("bchw,dc->bdhw", x, torch.ones(2, 6)),
        MAP,
    ),
    "running sum": (lambda x: x.cumsum(1), ROWS),
    "triangle": (lambda x: x.tril(1) - x.triu(), ROWS),
    "repeat": (lambda x: x.repeat(2, 1, 1, 3), MAP),
    "roll": (lambda x: x.roll((2, -1), (1, 2)), ROWS),
    "flip": (lambda x: x.flip(1, 2), ROWS),
    "chosen": (lambda x: x[:, [3, 0, 0, 1]] + x.index_select(1, torch.tensor([4, 2, 1, 0])), ROWS),
    "mirrored": (lambda x: functional.pad(x, (1, 2, 3, 0), mode="reflect"), MAP),
    "edges": (lambda x: functional.pad(x, (1, 2, 3, 0), mode="replicate"), MAP),
    "border": (lambda x: functional.pad(x, (1, 2), value=0.7), MAP),
    "channel shuffle": (lambda x: functional.channel_shuffle(x, 3), MAP),
    "unshuffle": (lambda x: functional.pixel_unshuffle(x[..., :6, :], 2), MAP),
    "log": (lambda x: torch.log(x.clamp(min=0.1)), MAP),
    "slopes": (lambda x: functional.prelu(x, torch.linspace(-0.2, 0.6, 6)), MAP),
    "leaky": (lambda x: functional.leaky_relu(x, 0.2) - functional.hardtanh(x), MAP),
    "arithmetic": (lambda x: 2 - x * 3 / 4 + (-x) ** 2, MAP),
    "broadcast": (lambda x: x * x.mean((2, 3), keepdim=True).expand_as(x), MAP),
    "extremes": (lambda x: torch.maximum(x, -x).clamp(0.1, 2.5), MAP),
    "sum": (lambda x: x.sum(1), MAP),
    "softmax of channels": (lambda x: x.softmax(1), MAP),
    "log softmax": (lambda x: x.flatten(1).log_softmax(-1), MAP),
    "pool": (lambda x: functional.max_pool2d(x, 3, 2, 1, ceil_mode=True), MAP),
    "mean pool": (lambda x: functional.avg_pool2d(x, (2, 3), padding=1), MAP),
    "mean pool without pads": (
        lambda x: functional.avg_pool2d(x, 2, padding=1, count_include_pad=False),
        MAP,
    ),
    "adaptive": (lambda x: functional.adaptive_avg_pool2d(x, (3, 4)), MAP),
    "adaptive maximum": (lambda x: functional.adaptive_max_pool2d(x, 1), MAP),
    "split": (lambda x: torch.cat(x.split((1, 2, 3), 1)[::-1], 1), MAP),
    "chunk": (lambda x: x.chunk(2, 3), MAP),
    "unbind": (lambda x: torch.stack(x.unbind(2)[:3], 1), MAP),
    "slices": (lambda x: x[:, 1:5:2, -6:, 3], MAP),
    "pad and crop": (lambda x: functional.pad(x, (1, -2, 0, 3)), MAP),
    "nearest": (lambda x: functional.interpolate(x, scale_factor=2), MAP),
    "bilinear": (lambda x: functional.interpolate(x, size=(13, 5), mode="bilinear"), MAP),
    "bilinear corners": (
        lambda x: functional.interpolate(x, (13, 5), mode="bilinear", align_corners=True),
        MAP,
    ),
    "group norm": (lambda x: functional.group_norm(x, 2, x.new_ones(6) * 2, eps=0.1), MAP),
    "instance norm": (lambda x: functional.instance_norm(x, eps=0.1), MAP),
    "size": (lambda x: x.abs() + 1, MAP),
    "shuffle": (lambda x: functional.pixel_shuffle(x[:, :4], 2), MAP),
    "sequence pools": (
        lambda x: functional.max_pool1d(x, 2) - functional.avg_pool1d(x, 2),
        SEQUENCE,
    ),
    "tokens": (lambda x: x.flatten(2).transpose(1, 2).mean(1), MAP),
    "index": (lambda x: x.argmax(2), ROWS),
}


class Recurrent(nn.Module):  # type: ignore[misc, name-defined]
    """Layers over a sequence, with initial states where they are given."""

    def __init__(self, kind: str, **options: Any) -> None:
        super().__init__()
        self.layers = getattr(nn, kind)(6, 5, **options)

    def forward(self, x: Any, *states: Any) -> Any:
        y, last = self.layers(x, states[0] if len(states) == 1 else states or None)
        return y, *(last if isinstance(last, tuple) else (last,))


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize(
    ("options", "batch"),
    [
        ({}, 1),
        ({"num_layers": 2, "batch_first": True}, 1),
        ({"bidirectional": True, "bias": False}, 3),
        ({"num_layers": 3, "bidirectional": True, "batch_first": True}, 2),
    ],
)
def test_recurrent_layers(kind: str, options: dict[str, Any], batch: int) -> None:
    torch.manual_seed(0)
    module = Recurrent(kind, **options)
    shape = (batch, 4, 6) if options.get("batch_first") else (4, batch, 6)
    x = torch.randn(shape)
    assert_equals_torch(module, x)
    rows = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
    states = [torch.randn(rows, batch, 5) for _ in range(2 if kind == "LSTM" else 1)]
    assert_equals_torch(module, x, *states)


def test_projections_are_refused() -> None:
    with pytest.raises(ModelError, match="projections"):
        ts.import_torch(Recurrent("LSTM", proj_size=2), torch.randn(4, 1, 6))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_equal_torch(name: str) -> None:
    function, shape = FUNCTIONS[name]
    torch.manual_seed(1)
    assert_equals_torch(Function(function), torch.randn(shape))


LAYERS: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "conv": (lambda: nn.Conv2d(6, 4, (3, 2), (2, 1), (1, 2), (2, 1)), MAP),
    "conv same": (lambda: nn.Conv2d(6, 4, (3, 4), padding="same"), MAP),
    "groups": (lambda: nn.Conv2d(6, 9, 3, groups=3, bias=False), MAP),
    "depthwise": (lambda: nn.Conv2d(6, 12, 3, 2, 1, groups=6), MAP),
    "transposed sequence": (lambda: nn.ConvTranspose1d(6, 4, 3, 2, groups=2), SEQUENCE),
    "transposed": (lambda: nn.ConvTranspose2d(6, 4, 3, 2, 1, output_padding=1), MAP),
    "conv over time": (lambda: nn.Conv1d(6, 5, 3, 2, 1), SEQUENCE),
    "conv over time same": (lambda: nn.Conv1d(6, 5, 4, padding="same", dilation=2), SEQUENCE),
    "depthwise over time": (lambda: nn.Conv1d(6, 6, 3, padding=1, groups=6), SEQUENCE),
    "norm": (lambda: nn.Sequential(nn.Conv2d(6, 4, 1), nn.BatchNorm2d(4), nn.PReLU()), MAP),
    "norm over time": (lambda: nn.Sequential(nn.BatchNorm1d(6), nn.ReLU()), SEQUENCE),
    "linear": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(432, 7)), MAP),
    "linear of rows": (lambda: nn.Sequential(nn.Linear(8, 7, bias=False), nn.Linear(7, 3)), ROWS),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_equal_torch(name: str) -> None:
    build, shape = LAYERS[name]
    torch.manual_seed(2)
    graph = assert_equals_torch(randomised(build()), torch.randn(shape))
    assert {"mul", "add"}.isdisjoint(node.op.name for node in graph.nodes) or name == (
        "norm over time"
    )


def families() -> dict[str, tuple[Any, int]]:
    from examples.vision import networks as n

    return {
        "mobilenet_v1": (n.mobilenet_v1(0.25, 10), 64),
        "mobilenet_v2": (n.mobilenet_v2(0.35, 10), 64),
        "mobilenet_v3": (n.mobilenet_v3_small(0.5, 10), 64),
        "resnet": (n.resnet((2, 2, 2, 2), 8, 10), 64),
        "efficientnet_lite": (n.efficientnet_lite(0.35, 0.5, 10), 64),
        "mcunet": (n.mcunet(), 48),
    }


@pytest.mark.parametrize("name", families() if torch else [])
def test_families_equal_torch_and_keep_no_transpose(name: str) -> None:
    torch.manual_seed(3)
    module, size = families()[name]
    graph = assert_equals_torch(randomised(module), torch.randn(1, 3, size, size))
    final = simplify(channels_last_inputs(graph))
    assert copies(graph) == 0
    assert not [n for n in final.nodes if n.op.name == "pad"]


def test_the_onnx_route_gives_the_same_network(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    module = randomised(families()["mobilenet_v3"][0]).eval()
    x = torch.randn(1, 3, 64, 64)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (x,), file, dynamo=False)
    path = tmp_path / "net.onnx"
    path.write_bytes(file.getvalue())
    ours, theirs = ts.import_torch(module, x), import_float(path)
    assert [n.op.name for n in ours.nodes] == [n.op.name for n in theirs.nodes]
    (a,), (b,) = (ts.run_float(graph, [x.numpy()]) for graph in (ours, theirs))
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_module_is_left_as_it_was() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).train()
    module[1].eval()
    ts.import_torch(module, torch.zeros(1, 3, 4, 4))
    assert [one.training for one in module.modules()] == [True, True, False]


def test_every_unsupported_operator_is_named_with_its_module() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), Function(torch.asinh), nn.Conv2d(4, 2, 1))
    with pytest.raises(ModelError) as caught:
        ts.import_torch(module, torch.zeros(1, 3, 4, 4))
    assert caught.value.code == "E210"
    assert "in 1" in caught.value.what


@pytest.mark.parametrize(
    ("module", "example", "code"),
    [
        (Function(lambda x: x.nonzero()), torch.zeros(1, 3), "E210"),
        (Function(lambda x: x if x.sum() > 0 else -x), torch.zeros(1, 3), "E214"),
        (nn.Embedding(4, 4), torch.zeros(1, 3, dtype=torch.int64), "E208"),
        (nn.Linear(3, 3), torch.zeros(1, 4), "E214"),
        (nn.Identity(), torch.zeros(1, 4), "E205"),
        ("module", torch.zeros(1, 4), "E214"),
        (nn.Identity(), "x", "E214"),
    ],
)
def test_modules_that_cannot_be_read_are_refused(module: Any, example: Any, code: str) -> None:
    with pytest.raises(ModelError) as caught:
        ts.import_torch(module, example)
    assert caught.value.code == code


TOKENS = (1, 7, 24)
PARTS: dict[str, tuple[Callable[[], Any], list[str]]] = {
    "norm": (lambda: nn.LayerNorm(24), ["layer_norm"]),
    "norm without factors": (lambda: nn.LayerNorm(24, elementwise_affine=False), ["layer_norm"]),
    "norm of several axes": (lambda: nn.LayerNorm((7, 24), bias=False), ["layer_norm"]),
    "norm by hand": (
        lambda: Function(
            lambda x: (
                (x - x.mean(-1, keepdim=True))
                * torch.rsqrt(x.var(-1, keepdim=True, unbiased=False) + 1e-4)
            )
        ),
        ["layer_norm"],
    ),
    "gelu by hand": (lambda: Function(lambda x: x * 0.5 * (1 + torch.erf(x / 2**0.5))), ["gelu"]),
    "products": (lambda: Function(lambda x: torch.bmm(x, x.mT) @ x), ["batch_matmul"] * 2),
    "block": (
        lambda: nn.TransformerEncoderLayer(24, 2, 48, activation="gelu", batch_first=True),
        [*["batch_matmul", "softmax", "batch_matmul"], "layer_norm", "gelu", "layer_norm"],
    ),
}


@pytest.mark.parametrize("name", PARTS)
def test_parts_of_transformers_are_one_operator_each(name: str) -> None:
    build, wanted = PARTS[name]
    torch.manual_seed(4)
    graph = assert_equals_torch(build(), torch.randn(TOKENS))
    plumbing = {"reshape", "transpose", "strided_slice", "fully_connected", "add"}
    assert [n.op.name for n in graph.nodes if n.op.name not in plumbing] == wanted


@pytest.mark.parametrize("need_weights", [False, True])
def test_attention_equals_torch(need_weights: bool) -> None:
    torch.manual_seed(5)
    layer = nn.MultiheadAttention(24, 3, batch_first=True)
    module = Function(lambda x: layer(x, x, x, need_weights=need_weights)[0])
    module.layer = layer
    assert_equals_torch(module, torch.randn(TOKENS))


@pytest.mark.parametrize("opset", [14, 17])
def test_a_vision_transformer_by_both_routes(opset: int, tmp_path: Path) -> None:
    """Opset 14 has no layer normalisation: its exporter spells it out."""
    pytest.importorskip("onnx")
    from examples.vision.transformer import VisionTransformer

    torch.manual_seed(6)
    module, x = VisionTransformer(16, 4, 32).eval(), torch.randn(1, 3, 16, 16)
    path = tmp_path / "vit.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (x,), str(path), dynamo=False, opset_version=opset)
    ours, theirs = assert_equals_torch(module, x), import_float(path)
    plumbing = {"reshape", "split", "strided_slice"}
    names = [[n.op.name for n in g.nodes if n.op.name not in plumbing] for g in (ours, theirs)]
    assert sorted(names[0]) == sorted(names[1])
    np.testing.assert_allclose(
        *(ts.run_float(graph, [x.numpy()])[0] for graph in (ours, theirs)), rtol=1e-4, atol=1e-5
    )
    cases = [[torch.randn(1, 3, 16, 16).numpy()] for _ in range(16)]
    int8 = ts.quantize(ours, cases)
    errors = {e.tensor: e.sqnr_db for e in compare_layers(ours, int8, cases)}
    assert errors[ours.outputs[0]] > 25
