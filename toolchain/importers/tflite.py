"""Read a ``.tflite`` file into a graph; every defect of the file ends in one `ModelError`.

The file is hostile until checked: all offsets first (`toolchain.importers.flatbuffer`), then the
operators that are not supported, all at once, then tensors, attributes and types, and at last the
graph as a whole (`toolchain.ir.verify`). Nothing larger than the file is allocated.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from toolchain.errors import ModelError
from toolchain.importers.onnx_file import without_nan
from toolchain.importers.tflite_checks import (
    check_integer,
    check_ports,
    check_real,
    refuse_dynamic,
    refuse_float,
    refuse_quantised,
    refuse_unsupported,
)
from toolchain.importers.tflite_file import integers, open_model, operators
from toolchain.importers.tflite_layer import Layer, Reader
from toolchain.importers.tflite_layer import operands as kept_operands
from toolchain.importers.tflite_legacy import legacy_ports
from toolchain.importers.tflite_options import READERS
from toolchain.importers.tflite_recurrent import updated_states, with_next_states
from toolchain.importers.tflite_tensors import Tensors
from toolchain.importers.tflite_types import ModelWarning
from toolchain.importers.tflite_variables import Variables
from toolchain.ir import Graph, Node, Operands, Tensor, verify
from toolchain.ops import Op, Reshape, TensorType
from toolchain.passes import simplify_float
from toolchain.reference import verify_float

# A table without fields: the options of an operator that has none are all defaults.
_EMPTY_TABLE, _EMPTY_POSITION = b"\x04\x00\x04\x00\x04\x00\x00\x00", 4


@dataclass(frozen=True)
class _Kind:
    """What is demanded of a file of integers, and of one of real numbers.

    Attributes:
        check: refuses a layer whose operands do not suit its operator; returns its outputs' types.
        explain: refuses the model for what its failed layers have in common, if anything.
    """

    check: Callable[[Layer, Reader, Op, Operands], tuple[TensorType, ...]]
    explain: Callable[[Sequence[Layer], int], None]


_INTEGER = _Kind(check_integer, refuse_float)
_REAL = _Kind(check_real, refuse_quantised)


def import_tflite(data: bytes, name: str) -> Graph:
    """Return the graph of a ``.tflite`` file of integers.

    Padding is made explicit; a batch of -1 in the shape signature is ignored; attributes that the
    file keeps in constant tensors move into the operators; uint8 tensors of legacy files become
    int8 with values and zero points less 128, which stands for the same real values, behind
    QUANTIZE nodes that keep the file's own type at inputs and outputs.

    Args:
        data: the file.
        name: the graph's name.

    Raises:
        ModelError: E201 not a ``.tflite`` file, E202 float or hybrid model, E204 damaged file,
            E205 illegal graph, E206 illegal operator, E207 shapes that are not fixed, E208
            unsupported type, E210 unsupported operators, all of them.
    """
    graph, tensors = _read(data, name, _INTEGER)
    return verify(legacy_ports(graph, tensors.legacy))


def import_float_tflite(data: bytes, name: str) -> Graph:
    """Return the float graph of a ``.tflite`` file that is still to be quantised.

    Weights that the file keeps as float16 become float32.

    Args:
        data: the file.
        name: the graph's name.

    Raises:
        ModelError: as `import_tflite`; E213 for a file whose activations are integers.
    """
    graph, _ = _read(data, name, _REAL)
    if graph.states:
        raise ModelError(
            "E210",
            f'"{graph.states[0].read}" lives on between inferences: float files with state are not '
            "supported",
            hints=["convert the model to full int8 first"],
        )
    for tensor in graph.tensors.values():
        if tensor.is_constant:
            without_nan(tensor.values, f'tensor "{tensor.name}"')
    return verify_float(simplify_float(graph))


def _read(data: bytes, name: str, kind: _Kind) -> tuple[Graph, Tensors]:
    model = open_model(data)
    subgraph = model.Subgraphs(0)
    tensors = Tensors(model, subgraph, data)
    live = _live(list(operators(model, subgraph)), integers(subgraph.OutputsAsNumpy()))
    variables = Variables(model, data, tensors)
    found = variables.take(live)
    refuse_unsupported(found, tensors)
    refuse_dynamic(subgraph, tensors)
    layers = [_layer(*one, tensors) for one in _without_halves(found, tensors)]
    links = [link for chain in _links(layers, kind, tensors) for link in chain]
    numbered = [*((link.layer.index, link.node) for link in links), *variables.nodes]
    ordered = [node for _, node in sorted(numbered, key=lambda one: one[0])]
    every = [link.layer for link in links]
    graph = _graph(name, ordered, every, variables, *_ports(subgraph, tensors))
    _warn(name, tensors.oddities)
    return graph, tensors


def _live(
    operators: Sequence[tuple[str, Any]], outputs: Sequence[int]
) -> Iterator[tuple[int, str, Any]]:
    """Yield index, name and accessor of the operators that the outputs depend on.

    Converters compute shapes with operators of their own (SHAPE, STRIDED_SLICE, PACK); what they
    make is known from the tensors, and nothing else reads it.
    """
    needed, live = set(outputs), set()
    for index, (code, raw) in reversed(list(enumerate(operators))):
        inputs, made = integers(raw.InputsAsNumpy()), integers(raw.OutputsAsNumpy())
        if made and needed.isdisjoint(made):
            continue
        live.add(index)
        reader = READERS.get(code)
        needed.update(reader.select(inputs) if reader else inputs)
    return ((index, *operators[index]) for index in sorted(live))


def _without_halves(
    found: Sequence[tuple[int, str, Any]], tensors: Tensors
) -> list[tuple[int, str, Any]]:
    """Return the operators but those that only make float32 of float16 constants."""
    kept = []
    for index, code, raw in found:
        inputs, outputs = (integers(v) for v in (raw.InputsAsNumpy(), raw.OutputsAsNumpy()))
        one = code == "DEQUANTIZE" and len(inputs) == len(outputs) == 1
        if not one or not tensors.share_half(inputs[0], outputs[0]):
            kept.append((index, code, raw))
    return kept


def _ports(subgraph: Any, tensors: Tensors) -> tuple[list[Tensor], list[Tensor]]:
    """Return the graph's inputs and outputs."""
    inputs, outputs = (integers(v) for v in (subgraph.InputsAsNumpy(), subgraph.OutputsAsNumpy()))
    ports = [tensors[index] for index in inputs], [tensors[index] for index in outputs]
    check_ports(*ports)
    return ports


def _graph(
    name: str,
    nodes: Sequence[Node],
    layers: Sequence[Layer],
    variables: Variables,
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
) -> Graph:
    everything = [*inputs, *outputs, *variables.tensors]
    for layer in layers:
        everything += [t for t in (*layer.inputs, *layer.outputs) if t is not None]
    graph = Graph(
        name,
        (*nodes, *variables.updates()),
        {tensor.name: tensor for tensor in everything},
        tuple(tensor.name for tensor in inputs),
        tuple(tensor.name for tensor in outputs),
        (*variables.states(), *updated_states(layers, READERS)),
    )
    return graph.with_nodes(graph.nodes)


def _warn(name: str, oddities: Sequence[str]) -> None:
    if oddities:
        more = f" (and {len(oddities) - 1} more)" if len(oddities) > 1 else ""
        warnings.warn(f"{name}: {oddities[0]}{more}", ModelWarning, stacklevel=3)


def _layer(index: int, code: str, raw: Any, tensors: Tensors) -> Layer:
    reader = READERS[code]
    inputs = [None if i == -1 else tensors[i] for i in integers(raw.InputsAsNumpy())]
    outputs = [tensors[i] for i in integers(raw.OutputsAsNumpy())]
    legacy = bool(outputs) and outputs[0].name in tensors.legacy
    left_open = tensors.open.get(outputs[0].name, frozenset()) if outputs else frozenset()
    layer = Layer(index, code, None, tuple(inputs), tuple(outputs), legacy, left_open)
    layer = with_next_states(layer, reader, tensors)
    layer.require(bool(outputs), "it has no output")
    layer.require(not any(t.is_constant for t in outputs), "an output is a constant")
    layer.require(
        reader.fewest <= len(inputs) <= reader.most, f"{len(inputs)} inputs are not legal"
    )
    for i in range(reader.fewest):
        layer.input(i)
    return replace(layer, options=_options(reader, raw, layer))


def _options(reader: Reader, raw: Any, layer: Layer) -> Any:
    import tflite

    if not reader.options:
        return None
    kind, table = raw.BuiltinOptionsType(), raw.BuiltinOptions()
    accessor: Any = getattr(tflite, reader.options)()
    if table is None or kind == tflite.BuiltinOptions.NONE:
        accessor.Init(_EMPTY_TABLE, _EMPTY_POSITION)
        return accessor
    expected = getattr(tflite.BuiltinOptions, reader.options)
    layer.require(kind == expected, f"its options are of kind {kind}, not {reader.options}")
    accessor.Init(table.Bytes, table.Pos)
    return accessor


class _Link(NamedTuple):
    """A node, and the layer that it does the work of, or a part of it."""

    layer: Layer
    node: Node


def _links(layers: Sequence[Layer], kind: _Kind, tensors: Tensors) -> Iterator[list[_Link]]:
    failures = []
    sized: dict[str, Tensor] = {}
    for layer in layers:
        try:
            yield _chain(layer, kind, tensors, sized)
        except ModelError as error:
            failures.append((layer, error))
    if not failures:
        return
    kind.explain([layer for layer, _ in failures], len(layers))
    raise failures[0][1]


def _chain(layer: Layer, kind: _Kind, tensors: Tensors, sized: dict[str, Tensor]) -> list[_Link]:
    """Return the nodes of a layer, with tensors between them where they are several.

    Args:
        layer: as it stands in the file.
        kind: of the file.
        tensors: of the file.
        sized: what has another size than in the file, so far; outputs of the layer are added.
    """
    inputs = tuple(x and sized.get(x.name, x) for x in layer.inputs)
    layer = replace(layer, inputs=inputs)
    made = READERS[layer.code].read(layer)
    ops = made if isinstance(made, tuple) else (made,)
    *front, last = ops or (Reshape(layer.outputs[0].shape),)
    layer.require(not front or len(layer.outputs) == 1, "it makes one output")
    links: list[_Link] = []
    for place, op in enumerate(front):
        (x, *rest), (y,) = layer.inputs, layer.outputs
        (shape, _), *_ = op.infer(Operands((x,), (y,)))
        between = replace(y, name=tensors.unique(f"{y.name}/{place}"), shape=shape)
        links.append(_link(replace(layer, outputs=(between,)), op, kind, f"_{place}"))
        layer = replace(layer, inputs=(between, *rest))
    sized.update(_sizes(layer, last, kind, tensors))
    layer = replace(layer, outputs=tuple(sized.get(y.name, y) for y in layer.outputs))
    return [*links, _link(layer, last, kind)]


def _link(layer: Layer, op: Op, kind: _Kind, place: str = "") -> _Link:
    reader = READERS[layer.code]
    kept = kept_operands(reader, layer)
    kind.check(layer, reader, op, kept)
    node = Node(
        f"{op.name}_{layer.index}{place}",
        op,
        tuple(None if tensor is None else tensor.name for tensor in kept.inputs),
        tuple(tensor.name for tensor in kept.outputs),
    )
    return _Link(layer, node)


def _sizes(layer: Layer, op: Op, kind: _Kind, tensors: Tensors) -> Iterator[tuple[str, Tensor]]:
    """Yield outputs of other sizes than in the file, where that leaves them open.

    In files an open batch is 1, even where parts of maps are dealt out to more.
    """
    reader = READERS[layer.code]
    types = kind.check(layer, reader, op, kept_operands(reader, layer))
    made, wanted = len(types), len(layer.outputs)
    layer.require(made == wanted, f"it makes {made} outputs, where the file has {wanted}")
    for y, (shape, _) in zip(layer.outputs, types, strict=True):
        sizes = list(zip(y.shape, shape, strict=False))
        differing = {axis for axis, (old, new) in enumerate(sizes) if old != new}
        known = len(y.shape) == len(shape) and differing <= tensors.open.get(y.name, set())
        if differing and known:
            yield y.name, replace(y, shape=shape)
