"""Random ONNX files of one operator that reduces, normalises or orders elements."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.formats.onnx_graphs import helper, model, onnx
from tests.formats.test_onnx import Rng, weights

node = helper.make_node
Generator = Callable[[Rng], bytes]


def shape_of(rng: Rng, rank: int | None = None) -> list[int]:
    return [int(n) for n in rng.integers(1, 6, rank or int(rng.integers(1, 5)))]


def axis_of(rng: Rng, shape: list[int]) -> int:
    return int(rng.integers(-len(shape), len(shape)))


def reduced(kind: str) -> Generator:
    """Return the generator of a reduction, with axes as attribute or, since opset 18, as input."""

    def make(rng: Rng) -> bytes:
        shape, keep = shape_of(rng), int(rng.integers(2))
        axes = sorted({axis_of(rng, shape) % len(shape) for _ in range(2)})
        if kind != "ReduceSum" and rng.random() < 0.5:
            return model([node(kind, ["x"], ["y"], axes=axes, keepdims=keep)], {"x": shape})
        layer = node(kind, ["x", "axes"], ["y"], keepdims=keep)
        return model([layer], {"x": shape}, {"axes": np.array(axes, np.int64)}, opset=18)

    return make


def arg_extreme(kind: str) -> Generator:
    def make(rng: Rng) -> bytes:
        shape, keep = shape_of(rng), int(rng.integers(2))
        layer = node(kind, ["x"], ["y"], axis=axis_of(rng, shape), keepdims=keep)
        proto = onnx.ModelProto.FromString(model([layer], {"x": shape}))
        proto.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
        return bytes(proto.SerializeToString())

    return make


def top_one(rng: Rng) -> bytes:
    shape = shape_of(rng, 3)
    extra = {"axis": axis_of(rng, shape), "largest": int(rng.integers(2))}
    layer = node("TopK", ["x", "k"], ["y", "i"], **extra)
    proto = onnx.ModelProto.FromString(
        model([layer], {"x": shape}, {"k": np.array([1])}, outputs=["y", "i"])
    )
    proto.graph.output[1].type.tensor_type.elem_type = onnx.TensorProto.INT64
    return bytes(proto.SerializeToString())


def einsum(rng: Rng) -> bytes:
    forms = ["bij,bjk->bik", "bhid,bhjd->bhij", "bchw,cf->bfhw", "ij,jk", "abc->cab", "ij->j",
             "bi,bi->b", "i,j->ij", "bnc,hc->bhn", "bqhd,bkhd->bhqk", "ab,cb->ca"]  # fmt: skip
    text = str(rng.choice(forms))
    sizes = dict(zip("abcdefhijkmnqw", rng.integers(1, 6, 14).tolist(), strict=True))
    terms = text.partition("->")[0].split(",")
    shapes = {f"x{i}": [sizes[c] for c in term] for i, term in enumerate(terms)}
    known = {}
    if len(terms) == 2 and rng.random() < 0.5:
        fixed = f"x{int(rng.integers(2))}"
        known = {fixed: weights(rng, *shapes.pop(fixed))}
    layer = node("Einsum", [f"x{i}" for i in range(len(terms))], ["y"], equation=text)
    return model([layer], shapes, known)


def cumulative(rng: Rng) -> bytes:
    shape = shape_of(rng)
    extra = {name: int(rng.integers(2)) for name in ("exclusive", "reverse")}
    axis = np.array(axis_of(rng, shape))
    return model([node("CumSum", ["x", "axis"], ["y"], **extra)], {"x": shape}, {"axis": axis})


def triangle(rng: Rng) -> bytes:
    constants = {"k": np.array(rng.integers(-3, 4))} if rng.random() < 0.7 else {}
    layer = node("Trilu", ["x", *constants], ["y"], upper=int(rng.integers(2)))
    return model([layer], {"x": shape_of(rng, 3)}, constants)


def tile(rng: Rng) -> bytes:
    shape = shape_of(rng, 3)
    return model([node("Tile", ["x", "n"], ["y"])], {"x": shape}, {"n": rng.integers(1, 4, 3)})


def rms_norm(rng: Rng) -> bytes:
    shape = shape_of(rng, 3)
    axis = int(rng.integers(-3, 3))
    layer = node("RMSNormalization", ["x", "g"], ["y"], axis=axis, epsilon=0.1)
    return model([layer], {"x": shape}, {"g": weights(rng, *shape[axis:])}, opset=23)


def lp_norm(rng: Rng) -> bytes:
    shape = shape_of(rng)
    extra = {"axis": axis_of(rng, shape), "p": int(rng.integers(1, 3))}
    return model([node("LpNormalization", ["x"], ["y"], **extra)], {"x": shape}, opset=22)


def normalised(kind: str) -> Generator:
    """Return the generator of normalisation over groups of channels, or over each."""

    def make(rng: Rng) -> bytes:
        groups, each = (int(n) for n in rng.integers(1, 4, 2))
        shape = [2, groups * each, *rng.integers(2, 5, int(rng.integers(1, 3))).tolist()]
        extra = {"num_groups": groups} if kind.startswith("Group") else {}
        constants = {n: weights(rng, groups * each) for n in ("gain", "offset")}
        layer = node(kind, ["x", *constants], ["y"], epsilon=float(rng.uniform(0.01, 1)), **extra)
        return model([layer], {"x": shape}, constants, opset=21)

    return make


def local_response(rng: Rng) -> bytes:
    extra = {name: float(rng.uniform(0.2, 1)) for name in ("alpha", "beta", "bias")}
    layer = node("LRN", ["x"], ["y"], size=int(rng.choice([1, 3, 5])), **extra)
    return model([layer], {"x": shape_of(rng, 4)})


def prelu(rng: Rng) -> bytes:
    shape = shape_of(rng, 4)
    slope = np.full([1] * int(rng.integers(1, 4)), rng.uniform(0.01, 0.9), np.float32)
    if rng.random() < 0.6:
        slope = rng.uniform(-0.5, 0.9, (shape[1], 1, 1)).astype(np.float32)
    return model([node("PRelu", ["x", "s"], ["y"])], {"x": shape}, {"s": slope})


def blocks(kind: str) -> Generator:
    def make(rng: Rng) -> bytes:
        size, (channels, height, width) = int(rng.integers(1, 4)), rng.integers(1, 4, 3).tolist()
        if kind == "SpaceToDepth":
            layer = node(kind, ["x"], ["y"], blocksize=size)
            return model([layer], {"x": [1, channels, height * size, width * size]})
        mode = str(rng.choice(["DCR", "CRD"]))
        layer = node(kind, ["x"], ["y"], blocksize=size, mode=mode)
        return model([layer], {"x": [2, channels * size**2, height, width]})

    return make
