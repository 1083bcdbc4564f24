"""ATen operators on maps (N, C, H, W) and sequences (N, C, L), and those that move elements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolchain.importers.aten import AtenNode, Reader, number
from toolchain.importers.onnx_builder import UnsupportedError, Value

_BORDERS = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}


def _axes(node: AtenNode) -> int:
    return len(node.shape()) - 2


def _many(node: AtenNode, name: str, default: Any = None) -> list[int]:
    """Return one number per spatial axis."""
    value = node.get(name, default)
    given = list(value) if isinstance(value, list | tuple) else [value]
    return [int(v) for v in (given * _axes(node) if len(given) == 1 else given)]


def _padding(node: AtenNode) -> dict[str, Any]:
    """Return the attributes of a padding, which PyTorch gives as numbers or by name."""
    value = node.get("padding", 0)
    if value == "valid":
        return {}
    if value == "same":
        # PyTorch pads behind where the sum is odd, as SAME_UPPER does; strides are 1.
        return {"auto_pad": "SAME_UPPER"}
    pads = _many(node, "padding", 0)
    return {"pads": [*pads, *pads]}


def convolution(node: AtenNode) -> Sequence[Value]:
    """Convolutions of one or two axes, and their transposes."""
    transposed = bool(node.get("transposed", False)) or "transpose" in node.kind
    attributes: dict[str, Any] = {
        "strides": _many(node, "stride"),
        "dilations": _many(node, "dilation"),
        "group": int(node["groups"]),
        **_padding(node),
    }
    inputs = [node.x, node["weight"], node.get("bias")]
    if not transposed:
        return node.onnx("Conv", inputs, **attributes)
    attributes["output_padding"] = _many(node, "output_padding")
    return node.onnx("ConvTranspose", inputs, **attributes)


def pool(kind: str) -> Reader:
    """Return the reader of a pool; of its indices none are made."""

    def read(node: AtenNode) -> Sequence[Value]:
        if node.get("divisor_override"):
            raise UnsupportedError("with a divisor of its own")
        attributes = {
            "kernel_shape": _many(node, "kernel_size"),
            "strides": _many(node, "stride" if node.get("stride") else "kernel_size"),
            "ceil_mode": int(node.get("ceil_mode", False)),
            **_padding(node),
        }
        if kind == "MaxPool":
            attributes["dilations"] = _many(node, "dilation", 1)
        else:
            attributes["count_include_pad"] = int(node.get("count_include_pad", True))
        return _first(node).onnx(kind, [node.x], **attributes)

    return read


def _first(node: AtenNode) -> AtenNode:
    """Return the node as if its first output were its only one."""
    return AtenNode(node.kind, node.index, node.label, node.arguments, node.shapes[:1], node.build)


def adaptive_pool(kind: str) -> Reader:
    """Return the reader of a pool to a given size, whose windows must be equal."""

    def read(node: AtenNode) -> Sequence[Value]:
        sizes, wanted = node.shape()[2:], node.shapes[0][2:]
        if any(n % m for n, m in zip(sizes, wanted, strict=True)):
            raise UnsupportedError(f"{list(sizes)} to {list(wanted)}: windows of unequal size")
        window = [n // m for n, m in zip(sizes, wanted, strict=True)]
        if set(wanted) == {1}:
            return _first(node).onnx(f"Global{kind}", [node.x])
        return _first(node).onnx(kind, [node.x], kernel_shape=window, strides=window)

    return read


def resize(mode: str) -> Reader:
    """Return the reader of an interpolation to the size of the output."""

    def read(node: AtenNode) -> Sequence[Value]:
        aligned = bool(node.get("align_corners", False))
        where = "align_corners" if aligned else "half_pixel" if mode == "linear" else "asymmetric"
        return node.onnx(
            "Resize",
            [node.x, None, None, np.array(node.shapes[0])],
            mode=mode,
            coordinate_transformation_mode=where,
            nearest_mode="floor",
        )

    return read


def permute(node: AtenNode) -> Sequence[Value]:
    """Permute, transposition of two axes, and of a matrix."""
    order = list(range(len(node.shape())))
    if node.kind == "permute":
        order = [node.axis(a) for a in node["dims"]]
    else:
        first, second = (0, 1) if node.kind == "t" else (node["dim0"], node["dim1"])
        a, b = node.axis(first), node.axis(second)
        order[a], order[b] = order[b], order[a]
    return node.onnx("Transpose", [node.x], perm=order)


def concat(node: AtenNode) -> Sequence[Value]:
    """Cat."""
    rank = len(node.shapes[0])
    return node.onnx("Concat", node["tensors"], axis=node.axis(node["dim"], rank))


def stack(node: AtenNode) -> Sequence[Value]:
    """Stack: cat of tensors with one more axis."""
    rank = len(node.shapes[0])
    axis = node.axis(node["dim"], rank)
    part = (*node.shapes[0][:axis], 1, *node.shapes[0][axis + 1 :])
    return node.onnx("Concat", [node.reshaped(v, part) for v in node["tensors"]], axis=axis)


def split(node: AtenNode) -> Sequence[Value]:
    """Split and chunk: the parts' sizes stand in the program."""
    axis = node.axis(node["dim"])
    return node.onnx("Split", [node.x], axis=axis, split=[shape[axis] for shape in node.shapes])


def unbind(node: AtenNode) -> Sequence[Value]:
    """Unbind: one slice per index."""
    axis = node.axis(node["dim"])
    places = range(node.shape()[axis])
    return [node.onnx("Gather", [node.x, np.array(i)], axis=axis)[0] for i in places]


def select(node: AtenNode) -> Sequence[Value]:
    """Select: one index of an axis."""
    return node.onnx("Gather", [node.x, np.array(node["index"])], axis=node.axis(node["dim"]))


def slice_(node: AtenNode) -> Sequence[Value]:
    """Slice of one axis."""
    axis = node.axis(node["dim"])
    bounds = (node.get("start", 0), node.get("end", node.shape()[axis]))
    rest = [np.array([n]) for n in (*bounds, axis, node["step"])]
    return node.onnx("Slice", [node.x, *rest])


def pad(node: AtenNode) -> Sequence[Value]:
    """Pad with a constant or what lies inside, crop by negative amounts, from the last axis on."""
    mode = _BORDERS.get(node.get("mode", "constant"))
    if mode is None:
        raise UnsupportedError(f"mode {node['mode']}")
    amounts, rank = list(node["pad"]), len(node.shape())
    pairs = [(0, 0)] * (rank - len(amounts) // 2)
    pairs += reversed(list(zip(amounts[::2], amounts[1::2], strict=True)))
    x = node.x
    if any(n < 0 for pair in pairs for n in pair):
        starts = np.array([max(-before, 0) for before, _ in pairs])
        sizes = node.shape()
        ends = np.array([n - max(-after, 0) for n, (_, after) in zip(sizes, pairs, strict=True)])
        x = node.onnx("Slice", [x, starts, ends])[0]
    before, after = ([max(n, 0) for n in side] for side in zip(*pairs, strict=True))
    if not any((*before, *after)):
        return [x]
    inputs = [x, np.array([*before, *after]), number(node.get("value", 0.0))]
    return node.onnx("Pad", inputs, mode=mode)
