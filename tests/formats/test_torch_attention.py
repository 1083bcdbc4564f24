"""PyTorch's attention with masks, in functions and in modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import toolchain as ts
from tests.formats.test_torch import Function, assert_equals_torch
from toolchain.errors import ModelError

torch = pytest.importorskip("torch")
nn = torch.nn
attend = torch.nn.functional.scaled_dot_product_attention

PAST = torch.ones(7, 7).tril().bool()
ADDED = torch.zeros(7, 7).masked_fill(~PAST, -torch.inf)


def scores(x: Any) -> Any:
    return x @ x.transpose(-1, -2) / 2


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "causal": lambda x: attend(x, x, x, is_causal=True),
    "causal with more keys": lambda x: attend(x[:, :, :4], x, x, is_causal=True),
    "truth": lambda x: attend(x, x, x, attn_mask=PAST),
    "added": lambda x: attend(x, x, x, attn_mask=ADDED, scale=0.7),
    "grouped": lambda x: attend(x, x[:, :2], x[:, 2:], is_causal=True, enable_gqa=True),
    "filled": lambda x: scores(x).masked_fill(~PAST, -torch.inf).softmax(-1) @ x,
    "chosen": lambda x: torch.where(PAST, scores(x), -1e9).softmax(-1) @ x,
    "repeated heads": lambda x: attend(x, x[:, :2].repeat_interleave(2, 1), x, is_causal=True),
    "without heads": lambda x: attend(x[:, 0], x[:, 1], x[:, 2], attn_mask=PAST),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_masked_attention_equals_torch(name: str) -> None:
    torch.manual_seed(0)
    assert_equals_torch(Function(FUNCTIONS[name]), torch.randn(2, 4, 7, 6))


class Masked(nn.Module):  # type: ignore[misc, name-defined]
    """PyTorch's own module with a causal mask."""

    def __init__(self, weights: bool) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.weights = weights

    def forward(self, x: Any) -> Any:
        return self.attention(x, x, x, attn_mask=~PAST, need_weights=self.weights)[0]


@pytest.mark.parametrize("weights", [False, True])
def test_the_attention_module_takes_a_mask(weights: bool) -> None:
    assert_equals_torch(Masked(weights), torch.randn(1, 7, 8))


def test_a_causal_encoder_is_read_with_its_parts_whole() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation="gelu")
    mask = nn.Transformer.generate_square_subsequent_mask(7)
    graph = assert_equals_torch(
        Function(lambda x: layer.eval()(x, src_mask=mask, is_causal=True)), torch.randn(1, 7, 8)
    )
    names = [node.op.name for node in graph.nodes]
    assert [names.count(one) for one in ("softmax", "layer_norm", "gelu", "mul")] == [1, 2, 1, 0]


def test_heads_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ModelError):
        ts.import_torch(Function(lambda x: attend(x, x[:, :2], x[:, :2])), torch.randn(1, 4, 7, 6))


def test_the_decoder_of_the_examples_equals_torch() -> None:
    from examples.sequences.decoder import demo

    module, x = demo()
    graph = assert_equals_torch(module, torch.randn(x.shape))
    names = [node.op.name for node in graph.nodes]
    found = [names.count(one) for one in ("softmax", "layer_norm", "gelu", "batch_matmul", "mul")]
    assert found == [2, 5, 2, 4, 0]
