"""Graph and plan, resolved into what the C templates print.

Nodes whose kernels were specialised with equal numbers share one C function; equal tables share
one array in flash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from codegen.arenas import Arena, arena_of, arenas, hot_macro, hot_section_of
from codegen.call import C_TYPES, Call, Copy, Function, Table, identifier
from codegen.stream import Feeding
from codegen.tiles import CStream, lower_stream
from toolchain.ir.graph import Graph, Node, Operands
from toolchain.ir.tensor import Array, DType, Tensor
from toolchain.kernels import Specialised
from toolchain.ops.base import Number
from toolchain.plan.lowering import lower, specialise
from toolchain.plan.plan import Plan, Slot, Stage, StreamStage
from toolchain.plan.repeats import repeated
from toolchain.plan.rows import RowWork
from toolchain.plan.staging import offsets, slot_name
from toolchain.plan.tiles import Grid, Tile, Tiling

_TABLE_PAYS = 16  # fewer layers in a row are called one by one


@dataclass(frozen=True)
class Port:
    """A graph input or output as the C API shows it; no expression if it is never whole."""

    tensor: Tensor
    ctype: str
    expression: str


@dataclass(frozen=True)
class Memory:
    """A state: where it lies in C, and its first value, one byte throughout or a table in flash."""

    place: str
    size: int
    fill: int | None
    table: str


@dataclass(frozen=True)
class CModel:
    """Everything ``model.c`` is made of: ``calls`` in the order of the plan's steps."""

    graph: Graph
    plan: Plan
    functions: tuple[Function, ...]
    tables: tuple[Table, ...]
    calls: tuple[Call, ...]
    stages: tuple[Call | CStream, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    states: tuple[Memory, ...] = ()

    @property
    def arenas(self) -> tuple[Arena, ...]:
        """Return the arenas, one for each region."""
        return arenas(self.plan)

    @property
    def hot_sections(self) -> dict[str, str]:
        """Return the linker section of each macro that hot tables are marked with."""
        regions = sorted({table.region for table in self.tables if table.region})
        return {hot_macro(region): hot_section_of(region) for region in regions}

    def runs(self, stages: Sequence[Call | CStream]) -> list[list[Call | CStream]]:
        """Return ``stages`` as they are called: many layers in a row by a table, others alone."""
        runs: list[list[Call | CStream]] = []
        for layers, group in groupby(stages, lambda stage: isinstance(stage, Call)):
            run = list(group)
            runs += [run] if layers and len(run) >= _TABLE_PAYS else [[stage] for stage in run]
        return runs

    @property
    def feed(self) -> Feeding | None:
        """Return how the caller hands over the input row by row, ``None`` if it is whole."""
        first = self.stages[0] if self.stages else None
        return first.feed if isinstance(first, CStream) else None

    @property
    def pull(self) -> bool:
        """Tell whether the caller is asked for parts of the input."""
        return any(stage.pull for stage in self.stages if isinstance(stage, CStream))


def _place(slot: Slot) -> str:
    """Return the address of a slot in C."""
    return f"{arena_of(slot.region)} + {slot.offset}"


def build_model(graph: Graph, plan: Plan, prefix: str) -> CModel:
    """Resolve ``graph`` and ``plan`` for the templates; tables are named ``<prefix>_...``."""
    return _Builder(graph, plan, prefix).build()


class _Builder:
    def __init__(self, graph: Graph, plan: Plan, prefix: str) -> None:
        self.graph = repeated(graph, plan.repeats)
        self.plan, self.prefix = plan, prefix
        self.hot = {hot.node: hot.region for hot in plan.hot}
        self.functions: dict[object, Function] = {}
        self.tables: dict[object, Table] = {}
        self.slots: dict[str, Slot] = {t: s for s in plan.slots for t in s.tensors}
        self.named = {slot.name: slot for slot in plan.slots} | self.slots
        self.calls: list[Call] = []

    def build(self) -> CModel:
        stages = tuple(stage for stage in map(self._stage, self.plan.stages) if stage is not None)
        states = tuple(self._memory(number) for number in range(len(self.graph.states)))
        return CModel(
            self.graph,
            self.plan,
            tuple(self.functions.values()),
            tuple(self.tables.values()),
            tuple(self.calls),
            stages,
            tuple(self._port(tensor) for tensor in self.graph.input_tensors),
            tuple(self._port(tensor) for tensor in self.graph.output_tensors),
            states,
        )

    def _memory(self, number: int) -> Memory:
        state = self.graph.states[number]
        slot, content = self.slots[state.read], np.ascontiguousarray(state.initial).view(np.uint8)
        if (content == content.flat[0]).all():
            return Memory(_place(slot), state.initial.nbytes, int(content.flat[0]), "")
        table = self._table(f"{number:02d}", "state", state.initial)
        return Memory(_place(slot), state.initial.nbytes, None, table)

    def _stage(self, stage: Stage) -> Call | CStream | None:
        nodes = {node.name: node for node in self.graph.nodes}
        if isinstance(stage, StreamStage):
            return self._stream(stage, [nodes[name] for name in stage.nodes])
        return self._layer(nodes[stage.node], stage.kernel) if stage.kernel else None

    def _layer(self, node: Node, kernel: str) -> Call:
        operands = self.graph.operands(node)
        _, special = specialise(lower(node.op, operands), kernel)
        sources = tuple(self._address(tensor, const=True) for tensor in operands.activations)
        results = tuple(self._address(tensor, const=False) for tensor in operands.outputs)
        call = self._call(len(self.calls), node, operands, kernel, special)
        self.calls.append(replace(call, sources=sources, results=results))
        return self.calls[-1]

    def _stream(self, stage: StreamStage, nodes: Sequence[Node]) -> CStream:
        first = len(self.calls)
        inside = frozenset(store.tensor for store in stage.stores)
        grid = Grid(stage.tile_rows, stage.tile_columns)
        tiling = Tiling(self.graph, tuple(nodes), grid, inside, stage.feed, stage.blocks)
        tiles = tiling.tiles(stage.kernels)
        assert tiles is not None, "a checked plan"

        def calls(tile: Tile) -> list[Call]:
            return [self._row_call(first + i, work) for i, work in enumerate(tile.works)]

        self.calls += calls(tiles[0])
        ctypes = {name: C_TYPES[tensor.dtype] for name, tensor in self.graph.tensors.items()}
        return lower_stream(
            f"stream_{first:02d}", self.graph, stage, tiles, calls, self.named, ctypes
        )

    def _row_call(self, index: int, work: RowWork) -> Call:
        return self._call(index, work.node, work.operands, work.kernel, work.special)

    def _call(
        self, index: int, node: Node, operands: Operands, kernel: str, special: Specialised
    ) -> Call:
        label = f"{index:02d}_{identifier(node.op.name)}"
        region, tables = self.hot.get(node.name, ""), special.tables.items()
        extras = [self._table(label, name, data, region) for name, data in tables]
        copies = self._copies(node, special, extras)
        extras = [copy.argument for copy in copies] or extras
        if special.scratch_bytes:
            extras.append(_place(self.named[f"{node.name}.scratch"]))
        return Call(
            index,
            node.name,
            label,
            node.op.macs(operands),
            self._function(kernel, special, operands),
            (),
            tuple(extras),
            (),
            operands.outputs,
            special.taps,
            copies,
        )

    def _copies(self, node: Node, special: Specialised, tables: Sequence[str]) -> tuple[Copy, ...]:
        """Return how tables that the plan stages come to the arena."""
        slot = self.named.get(slot_name(node.name))
        if slot is None:
            return ()
        at = offsets(special)
        return tuple(
            Copy(
                _place(replace(slot, offset=slot.offset + at[name])),
                at[name],
                table,
                C_TYPES[DType(data.dtype.name)],
                data.nbytes,
            )
            for table, (name, data) in zip(tables, special.tables.items(), strict=True)
        )

    def _function(self, kernel: str, special: Specialised, operands: Operands) -> Function:
        ins = tuple(C_TYPES[tensor.dtype] for tensor in operands.activations)
        outs = tuple(C_TYPES[tensor.dtype] for tensor in operands.outputs)
        helpers = [self._named(h.template, h.numbers, (), (), ()) for h in special.helpers]
        names = tuple(helper.name for helper in helpers)
        return self._named(special.template or kernel, special.numbers, ins, outs, names)

    def _named(
        self,
        template: str,
        numbers: Mapping[str, Number],
        inputs: tuple[str, ...],
        outputs: tuple[str, ...],
        helpers: tuple[str, ...],
    ) -> Function:
        key = (template, tuple(numbers.items()), inputs, outputs, helpers)
        if key not in self.functions:
            count = sum(f.template == template for f in self.functions.values())
            name = f"{template}_{count}"
            self.functions[key] = Function(name, template, numbers, inputs, outputs, helpers)
        return self.functions[key]

    def _table(self, label: str, name: str, data: Array, region: str = "") -> str:
        key = (data.dtype.str, data.shape, data.tobytes())
        if key not in self.tables:
            ctype = C_TYPES[DType(data.dtype.name)]
            self.tables[key] = Table(f"{self.prefix}_{name}_{label}", ctype, data.reshape(-1))
        if region and not self.tables[key].region:
            self.tables[key] = replace(self.tables[key], region=region)
        return self.tables[key].name

    def _address(self, tensor: Tensor, *, const: bool) -> str:
        ctype = C_TYPES[tensor.dtype]
        qualifier = "const " if const else ""
        return f"({qualifier}{ctype} *)({_place(self.slots[tensor.name])})"

    def _port(self, tensor: Tensor) -> Port:
        place = self._address(tensor, const=False) if tensor.name in self.slots else ""
        return Port(tensor, C_TYPES[tensor.dtype], place)
