"""A transformer of two blocks as exporters spell one without operators for its parts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tests.formats.onnx_graphs import helper, model
from toolchain.ir import Array

node = helper.make_node
SIZE, PATCH, WIDTH, HEADS, HIDDEN = 16, 4, 32, 2, 64
TOKENS = (SIZE // PATCH) ** 2 + 1


class Spelling:
    """Nodes and random weights so far."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.constants: dict[str, Array] = {}

    def weights(self, *shape: int, scale: float = 1.0) -> str:
        drawn = self.rng.normal(0, scale, shape) / math.sqrt(shape[-2] if len(shape) > 1 else 1)
        return self.constant(drawn)

    def constant(self, values: Any, dtype: Any = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(values, dtype)
        return name

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(node(kind, list(inputs), [name], **attributes))
        return name

    def linear(self, x: str, inputs: int, outputs: int) -> str:
        product = self.add("MatMul", x, self.weights(inputs, outputs))
        return self.add("Add", product, self.weights(outputs, scale=0.1))

    def norm(self, x: str) -> str:
        """Layer normalisation by means, a power and a root."""
        mean = self.add("ReduceMean", x, axes=[-1])
        centred = self.add("Sub", x, mean)
        variance = self.add("ReduceMean", self.add("Pow", centred, self.constant(2.0)), axes=[-1])
        root = self.add("Sqrt", self.add("Add", variance, self.constant(1e-5)))
        gain = self.constant(self.rng.uniform(0.5, 1.5, WIDTH))
        scaled = self.add("Mul", self.add("Div", centred, root), gain)
        return self.add("Add", scaled, self.weights(WIDTH, scale=0.1))

    def gelu(self, x: str) -> str:
        """GELU by the error function."""
        inner = self.add("Erf", self.add("Div", x, self.constant(math.sqrt(2))))
        return self.add(
            "Mul",
            self.add("Mul", x, self.add("Add", inner, self.constant(1.0))),
            self.constant(0.5),
        )

    def heads(self, x: str, perm: list[int]) -> str:
        split = self.add("Reshape", x, self.constant([1, TOKENS, HEADS, WIDTH // HEADS], np.int64))
        return self.add("Transpose", split, perm=perm)

    def attention(self, x: str) -> str:
        """Attention with the scale's root on queries and on keys."""
        root = self.constant((WIDTH // HEADS) ** -0.25)
        query, key, value = (self.linear(x, WIDTH, WIDTH) for _ in range(3))
        query = self.add("Mul", self.heads(query, [0, 2, 1, 3]), root)
        key = self.add("Mul", self.heads(key, [0, 2, 3, 1]), root)
        scores = self.add("Softmax", self.add("MatMul", query, key), axis=-1)
        mixed = self.add("MatMul", scores, self.heads(value, [0, 2, 1, 3]))
        joined = self.add("Transpose", mixed, perm=[0, 2, 1, 3])
        flat = self.add("Reshape", joined, self.constant([1, TOKENS, WIDTH], np.int64))
        return self.linear(flat, WIDTH, WIDTH)


def vision_transformer(seed: int) -> bytes:
    """Return the file: images (1, 3, 16, 16) to 10 logits."""
    s = Spelling(seed)
    kernel = s.constant(s.rng.normal(0, 0.15, (WIDTH, 3, PATCH, PATCH)))
    patches = s.add("Conv", "x", kernel, strides=[PATCH, PATCH])
    flat = s.add("Reshape", patches, s.constant([1, WIDTH, TOKENS - 1], np.int64))
    tokens = s.add("Transpose", flat, perm=[0, 2, 1])
    x = s.add("Concat", s.weights(1, 1, WIDTH), tokens, axis=1)
    x = s.add("Add", x, s.constant(s.rng.normal(0, 0.2, (1, TOKENS, WIDTH))))
    for _ in range(2):
        x = s.add("Add", x, s.attention(s.norm(x)))
        hidden = s.gelu(s.linear(s.norm(x), WIDTH, HIDDEN))
        x = s.add("Add", x, s.linear(hidden, HIDDEN, WIDTH))
    first = s.add("Gather", s.norm(x), s.constant(0, np.int64), axis=1)
    logits = s.linear(first, WIDTH, 10)
    return model(s.nodes, {"x": [1, 3, SIZE, SIZE]}, s.constants, outputs=[logits])
