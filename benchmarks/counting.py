"""Run a network once on an emulated board: instructions, cycles, and what its flash holds."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from boards import Board
from codegen.call import Table
from codegen.model import build_model
from codegen.project import project_files
from runtimes.emulator.choose import open_emulator
from runtimes.emulator.cycles import estimate
from runtimes.emulator.emulator import Emulator
from runtimes.toolchains import build_firmware
from toolchain.cli.arguments import random_cases
from toolchain.ir import DType, Graph, run
from toolchain.kernels import Isa
from toolchain.plan import LayerStage, Plan, plan_layers

# Tables of weighted layers: what replaces the file's weights, biases and scales.
_PACKED = ("weights", "bias", "stage", "extra", "multiplier", "shift", "lanes")
_WEIGHTS = (DType.INT8, DType.UINT8, DType.INT4)
_SCALE = 4  # bytes that a file takes for the scale of a filter


@dataclass(frozen=True)
class Flash:
    """What a firmware's flash holds, in bytes.

    Attributes:
        parameters: weights, biases and a 4-byte scale per filter, as files hold them.
        packed: our tables that replace them.
        code: everything else: instructions, look-up tables, start-up code and protocol.
    """

    parameters: int
    packed: int
    code: int

    @property
    def growth(self) -> float:
        """Return the share that packing adds to the parameters."""
        return self.packed / max(1, self.parameters) - 1


@dataclass(frozen=True)
class Count:
    """One inference in the emulator.

    Attributes:
        instructions: exact.
        cycles: the model's estimate, 0 where the emulator has none.
        waits: of these cycles, those in which the core waits for its flash.
        trust: how far to trust it.
        arena_bytes: of the plan.
        wrong: output elements that differ from the interpreter's.
        kernel: of the first node, if the plan starts with a layer.
        flash: what the flash holds.
    """

    instructions: int
    cycles: int
    waits: int
    trust: str
    arena_bytes: int
    wrong: int
    kernel: str
    flash: Flash


def count(graph: Graph, board: Board, plan: Plan | None = None, *, waits: bool = False) -> Count:
    """Run a graph on a random input.

    Args:
        graph: the network.
        board: where it runs.
        plan: how; its plain layer plan by default.
        waits: whether cycles are counted in which the core waits for its flash.
    """
    plan = plan or plan_layers(graph, Isa[board.isa.upper()])
    files = project_files(graph, plan, board, name="model")
    (case,) = random_cases(graph.input_tensors, 1, seed=1)
    with tempfile.TemporaryDirectory() as folder:
        firmware = build_firmware(files, board, Path(folder))
        with open_emulator(firmware, board, graph, plan.hash) as emulator:
            if waits and isinstance(emulator, Emulator):
                emulator.machine.watch_flash()
            done = emulator.run(case)
            spent = estimate(emulator) if isinstance(emulator, Emulator) else None
    pairs = zip(run(graph, case), done.outputs, strict=True)
    first = plan.stages[0]
    return Count(
        done.instructions,
        spent.total if spent else 0,
        spent.waits if spent else 0,
        spent.trust if spent else "",
        plan.arena_bytes,
        sum(int(np.count_nonzero(want != got)) for want, got in pairs),
        first.kernel if isinstance(first, LayerStage) else "",
        flash_of(graph, plan, firmware.flash_bytes),
    )


def flash_of(graph: Graph, plan: Plan, flash_bytes: int) -> Flash:
    """Return what the ``flash_bytes`` of a plan's firmware hold."""
    tables = build_model(graph, plan, "model").tables
    packed = sum(table.data.nbytes for table in tables if _kind(table) in _PACKED)
    filters = sum(
        len(tensor.quant.scales)
        for tensor in graph.tensors.values()
        if tensor.is_constant and tensor.quant is not None and tensor.dtype in _WEIGHTS
    )
    return Flash(graph.weight_bytes + _SCALE * filters, packed, flash_bytes - packed)


def _kind(table: Table) -> str:
    return table.name.removeprefix("model_").split("_")[0]
