"""Fully connected layers that take a map row by row: the map in front of them is never whole."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from boards import load_board
from codegen.emit import emit
from codegen.project import project_files
from nas.draft import Draft
from runtimes.emulator.choose import open_emulator
from runtimes.host.library import HostModel, compile_host
from runtimes.host.shadow import ShadowModel
from runtimes.toolchains import build_firmware, gcc
from tests.ops.harness import random_values
from tests.plan.row_by_row import row_by_row
from tests.plan.test_tiles import random_tiles
from toolchain.cli.arguments import random_cases
from toolchain.errors import FitError
from toolchain.ir import Graph, Quant, Tensor, constant, run
from toolchain.kernels import Isa
from toolchain.kernels.cost import ERROR
from toolchain.numerics import Activation
from toolchain.ops import FullyConnected, MaxPool2D, Reshape
from toolchain.passes import simplify
from toolchain.plan import Plan, StreamStage, check_plan, plan_layers, plan_model
from toolchain.plan.rows import row_work

SANITIZER = ("-O1", "-fsanitize=undefined", "-fno-sanitize=alignment")
ACTIVATIONS = (Activation.NONE, Activation.RELU, Activation.RELU6)
BOARDS = (None, "nucleo_f412zg")
BOARDS_OF = {Isa.PORTABLE: "emulator_m4_16m", Isa.DSP: "emulator_m4_16m", Isa.MVE: "qemu_an547"}
# In how many streams of the random graphs under the sanitizer they stand at least.
KERNELS = {"fully_connected_fold": 5, "fully_connected_fold_dsp": 3}


def dense(draft: Draft, rng: np.random.Generator, x: Tensor, units: int, kind: int) -> Tensor:
    """Add a fully connected layer: one scale per output, one for all, or with a zero point."""
    depth = x.shape[-1]
    count = units if kind == 0 else 1
    zero = (7 if units % 2 else -9) if kind == 2 else 0
    scales = tuple(float(s) for s in rng.uniform(0.5, 2, count) / (73 * depth**0.5))
    quant = Quant(scales, (zero,) * count, 0 if kind == 0 else None)
    weights = constant(f"w{x.name}", rng.integers(-127, 128, (units, depth), np.int8), quant)
    bias = constant(f"b{x.name}", rng.integers(-3000, 3000, units, np.int32))
    activation = ACTIVATIONS[int(rng.integers(3))]
    return draft.add(FullyConnected(activation), x, weights, bias)


def lenet(rng: np.random.Generator) -> Graph:
    """Return convolutions and pools, all of their last map flattened into dense layers."""
    draft = Draft("lenet", int(rng.integers(1 << 30)))
    x = draft.input(1, *(int(n) for n in rng.integers(12, 33, 2)), int(rng.choice([1, 3])))
    for _ in range(2):
        size = int(rng.choice([3, 5]))
        x = draft.conv(x, int(rng.integers(3, 17)), size, 1, Activation.RELU)
        x = draft.add(MaxPool2D((2, 2), (2, 2)), x, quant=x.quant)
    x = flattened(draft, x)
    x = dense(draft, rng, x, int(rng.integers(1, 25)), int(rng.integers(3)))
    return simplify(draft.graph(draft.fully_connected(x, int(rng.integers(2, 11)))))


def digits(width: int) -> Graph:
    """Return two convolutions with pools and a classifier of 7 rows of 7 ``width`` values.

    A view stands between map and classifier: it is not simplified.
    """
    draft = Draft("digits")
    x = draft.input(1, 28, 28, 1)
    for channels in (width // 2, width):
        x = draft.conv(x, channels, 3, 1, Activation.RELU)
        x = draft.add(MaxPool2D((2, 2), (2, 2)), x, quant=x.quant)
    return draft.graph(draft.fully_connected(flattened(draft, x), 10))


def vectors(seed: int) -> Graph:
    """Return maps of many shapes, each flattened into a dense layer."""
    rng, draft = np.random.default_rng(seed), Draft("vectors", seed)
    sizes = [(int(n) for n in rng.integers((2, 2, 3), (12, 12, 30))) for _ in range(9)]
    maps = [draft.input(1, *size) for size in sizes]
    layers = (
        dense(draft, rng, flattened(draft, x), int(rng.integers(8, 60)), kind % 3)
        for kind, x in enumerate(maps)
    )
    return simplify(draft.graph(*layers))


def flattened(draft: Draft, x: Tensor) -> Tensor:
    return draft.add(Reshape((1, x.size)), x, quant=x.quant)


def folds(plan: Plan) -> list[str]:
    streams = (stage for stage in plan.stages if isinstance(stage, StreamStage))
    return [name for stage in streams for name in stage.kernels if "fully_connected_fold" in name]


def least(graph: Graph, board_id: str | None, *, fed: bool) -> Plan:
    """Return the plan of least memory that computes nothing twice."""
    board = load_board(board_id) if board_id else None
    return check_plan(graph, plan_model(graph, board, fed=fed, max_macs=1))


def assert_equal_to_the_interpreter(cases: list[tuple[Graph, Plan]], folder: Path) -> None:
    files: dict[str, str] = {}
    for number, (graph, plan) in enumerate(cases):
        files |= emit(graph, plan, f"case{number}")
    library = compile_host(files, folder, SANITIZER)
    for number, (graph, _) in enumerate(cases):
        model = HostModel(library, f"case{number}", graph.input_tensors, graph.output_tensors)
        inputs = [random_values(t, np.random.default_rng(number)) for t in graph.input_tensors]
        for _ in range(2):
            for expected, got in zip(run(graph, inputs), model.run(inputs), strict=True):
                np.testing.assert_array_equal(got, expected, err_msg=f"case {number}")


def test_random_vectors_fed_by_streams_equal_the_interpreter(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cases = []
    for seed in range(20):
        graph = lenet(np.random.default_rng(seed))
        cases.append((graph, least(graph, BOARDS[seed % 2], fed=seed % 4 < 2)))
    assert_equal_to_the_interpreter(cases, tmp_path)
    assert "runtime error" not in capfd.readouterr().err
    kernels = [name for _, plan in cases for name in folds(plan)]
    assert all(kernels.count(name) >= least for name, least in KERNELS.items())


def test_rows_come_whole_and_in_order_from_tiles(tmp_path: Path) -> None:
    cases = []
    for seed in range(40, 60):
        rng = np.random.default_rng(seed)
        graph = lenet(rng)
        cases.append((graph, check_plan(graph, random_tiles(graph, rng))))
    assert_equal_to_the_interpreter(cases, tmp_path)
    stages = [stage for _, plan in cases for stage in plan.stages if isinstance(stage, StreamStage)]
    tiled = [stage for stage in stages if "fully_connected_fold" in stage.kernels]
    assert all(stage.tile_columns == 1 for stage in tiled)
    assert sum(stage.tile_rows > 1 for stage in tiled) > 1


def test_an_input_is_not_fed_where_sums_take_more_than_all_of_it() -> None:
    draft = Draft("wide")
    x = flattened(draft, draft.input(1, 28, 28, 1))
    graph = simplify(draft.graph(draft.fully_connected(draft.fully_connected(x, 300), 10)))
    for board_id in BOARDS:
        layers = plan_layers(graph, Isa.DSP if board_id else Isa.PORTABLE)
        assert least(graph, board_id, fed=True).arena_bytes <= layers.arena_bytes


@pytest.mark.parametrize("width", [32, 45])
@pytest.mark.parametrize("board_id", BOARDS)
def test_no_call_touches_what_is_not_its_own(
    board_id: str | None, width: int, tmp_path: Path
) -> None:
    graph = simplify(digits(width))
    plan = least(graph, board_id, fed=False)
    assert folds(plan)
    model = ShadowModel(graph, plan, emit(graph, plan), tmp_path)
    inputs = [random_values(t, np.random.default_rng(1)) for t in graph.input_tensors]
    for expected, got in zip(run(graph, inputs), model.run(inputs), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_a_kernel_that_does_not_fold_is_refused() -> None:
    graph = simplify(digits(64))
    plan = plan_model(graph)
    (stage,) = (stage for stage in plan.stages if isinstance(stage, StreamStage))
    assert folds(plan)
    for name in ("fully_connected", "global_pool"):
        wrong = replace(stage, kernels=(*stage.kernels[:-1], name))
        with pytest.raises(FitError, match="cannot run row by row"):
            check_plan(graph, replace(plan, stages=(wrong,)))


@pytest.mark.parametrize("fed", [False, True])
@pytest.mark.parametrize("board_id", BOARDS)
def test_a_classifier_needs_no_whole_map(board_id: str | None, *, fed: bool) -> None:
    board = load_board(board_id) if board_id else None
    whole = plan_model(digits(64), board, fed=fed)
    rows = plan_model(simplify(digits(64)), board, fed=fed)
    assert rows.arena_bytes < 0.7 * whole.arena_bytes
    assert rows.instructions < 1.02 * whole.instructions


@pytest.mark.slow
@pytest.mark.skipif(gcc() is None, reason="the constants are those of GCC's code")
@pytest.mark.parametrize("isa", BOARDS_OF)
def test_folds_in_the_emulator_equal_the_interpreter_and_their_estimates(
    isa: Isa, tmp_path: Path
) -> None:
    if isa is Isa.MVE and shutil.which("qemu-system-arm") is None:
        pytest.skip("needs qemu-system-arm")
    graph, board = vectors(int(isa)), load_board(BOARDS_OF[isa])
    plan = row_by_row(graph, isa)
    firmware = build_firmware(project_files(graph, plan, board, name="model"), board, tmp_path)
    inputs = random_cases(graph.input_tensors, 1, 0)[0]
    with open_emulator(firmware, board, graph, plan.hash) as emulator:
        done = emulator.run(inputs)
    for expected, got in zip(run(graph, inputs), done.outputs, strict=True):
        np.testing.assert_array_equal(got, expected)
    kernels = set()
    for node, layer in zip(graph.nodes, done.layers, strict=True):
        work = row_work(graph, node, isa)
        assert work is not None
        kernels.add(work.kernel)
        if isa is Isa.MVE and work.isa is not isa:
            continue  # the portable kernel's price is that of a Cortex-M4
        assert abs(work.cost(isa) / layer.instructions - 1) <= ERROR, work.kernel
    special = {Isa.PORTABLE: "", Isa.DSP: "_dsp", Isa.MVE: "_mve"}[isa]
    assert {"fully_connected_fold", f"fully_connected_fold{special}"} <= kernels
