"""Banks: arenas in the right piece of RAM, split where none holds the whole, exact all the same."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from boards import Board, load_board
from boards.board import Region
from codegen.emit import emit
from codegen.project import project_files
from runtimes.emulator.emulator import Emulator
from runtimes.host import build_host
from runtimes.toolchains import build_firmware
from tests.plan.networks import Builder, random_bottlenecks, random_map_network, random_network
from toolchain.errors import FitError
from toolchain.ir import Graph, run
from toolchain.ops import Add, Conv2D, Mean, Reshape
from toolchain.plan import Plan, check_plan, plan_from_json, plan_model, plan_to_json
from toolchain.plan.banks import banks_of, place
from toolchain.plan.fit import DATA_BYTES, STACK_BYTES, fit

RESERVED = STACK_BYTES + DATA_BYTES


def board_of(core: str, sizes: dict[str, int]) -> Board:
    """Return a board whose pieces of RAM have these sizes; tightly coupled if called TCM."""
    start, regions = 0x2000_0000, []
    for name, size in sizes.items():
        speed = "tcm" if name.startswith("TCM") else "sram"
        regions.append(Region(name, "ram", start, size, speed, "a test"))
        start += 0x100_0000
    flash = Region("FLASH", "flash", 0x0800_0000, 1 << 20, "flash", "a test")
    return replace(load_board("nucleo_h743zi"), core=core, regions=(flash, *regions))


def placed(seed: int) -> tuple[Graph, Plan, Plan | None, Board]:
    """Return a random network with its plan, in one piece and in the banks of a random board."""
    rng = np.random.default_rng(seed)
    graph = (random_network, random_map_network, random_bottlenecks)[seed % 3](rng)
    plan = plan_model(graph)
    sizes = {"MAIN": RESERVED + 8 * (plan.arena_bytes // int(rng.integers(8, 15)))}
    for name in ("TCM", "S2", "S3")[: int(rng.integers(1, 4))]:
        sizes[name] = 8 * (plan.arena_bytes // int(rng.integers(8, 20)))
    board = board_of(str(rng.choice(["cortex-m4", "cortex-m7"])), sizes)
    return graph, plan, place(graph, plan, board), board


def test_split_plans_keep_to_every_bank_and_pass_the_checker() -> None:
    split = 0
    for seed in range(120):
        graph, plan, found, board = placed(seed)
        if found is None:
            continue
        check_plan(graph, found, board)
        assert fit(graph, found, board, flash_bytes=0).fits
        assert sum(found.regions.values()) == found.arena_bytes >= plan.lower_bound_bytes
        assert found.arena_bytes == plan.arena_bytes or plan.arena_bytes > max(
            bank.size for bank in banks_of(board)
        )
        assert plan_from_json(plan_to_json(found)) == found
        split += len(found.regions) > 1
    assert split > 40


def test_c_of_split_plans_equals_the_interpreter(tmp_path: Path) -> None:
    done = 0
    for seed in range(60):
        graph, _, found, _ = placed(seed)
        if found is None or len(found.regions) < 2:
            continue
        inputs = [
            np.random.default_rng(seed).integers(-128, 128, tensor.shape, np.int8)
            for tensor in graph.input_tensors
        ]
        model = build_host(graph, emit(graph, found), tmp_path / str(seed))
        for got, want in zip(model.run(inputs), run(graph, inputs), strict=True):
            np.testing.assert_array_equal(got, want)
        done += 1
        if done == 12:
            return
    pytest.fail("too few networks were split")


def two_large_maps(rows: int) -> Graph:
    """Return a network that needs two maps of ``rows`` x 120 x 16 bytes at once, however planned.

    What changes its shape between two operators cannot flow row by row.
    """
    build = Builder(np.random.default_rng(0))
    x = build.activation("x", (1, rows, 120, 16))
    y = build.add(Conv2D(), x, *build.weights((16, 1, 1, 16), 0))
    turned = [build.add(Reshape((1, 120, rows, 16)), t, quant=t.quant) for t in (x, y)]
    build.add(Mean((1, 2), keep_dims=True), build.add(Add(), *turned))
    return build.graph(x)


@pytest.mark.parametrize(
    ("name", "rows", "regions"),
    [
        ("nucleo_h743zi", 140, {"arena", "D2", "DTCM"}),
        ("generic_stm32f405rg", 34, {"arena", "CCM"}),
    ],
)
def test_a_network_that_fits_in_several_banks_only_runs_on_the_board(
    name: str, rows: int, regions: set[str], tmp_path: Path
) -> None:
    board, graph = load_board(name), two_large_maps(rows)
    plan = check_plan(graph, plan_model(graph, board), board)
    assert plan.lower_bound_bytes > max(bank.size for bank in banks_of(board))
    assert set(plan.regions) == regions
    firmware = build_firmware(project_files(graph, plan, board, name="model"), board, tmp_path)
    assert firmware.arena_bytes == plan.arena_bytes
    for region, size in plan.regions.items():
        held = firmware.pieces[board.ram.name if region == "arena" else region]
        assert size <= held <= size + (RESERVED if region == "arena" else 0)
    emulator = Emulator(firmware, board, graph, plan.hash)
    for seed in range(2):
        inputs = [np.random.default_rng(seed).integers(-128, 128, (1, rows, 120, 16), np.int8)]
        np.testing.assert_array_equal(emulator.run(inputs).outputs, run(graph, inputs))


def test_a_tensor_larger_than_any_bank_is_refused_with_the_piece_that_is_too_small() -> None:
    board, graph = load_board("nucleo_h743zi"), two_large_maps(160)
    plan = plan_model(graph, board)
    with pytest.raises(FitError, match="AXI needs"):
        fit(graph, plan, board, flash_bytes=0).require()


def test_fast_memory_takes_what_is_read_most_and_the_arena_grows_only_where_allowed() -> None:
    graph = two_large_maps(20)  # two maps of 38,400 bytes
    slow = board_of("cortex-m4", {"MAIN": 1 << 17, "TCM": 40_000})
    whole = plan_model(graph, slow)
    assert set(whole.regions) == {"arena"}
    small = board_of("cortex-m7", {"MAIN": 1 << 17, "TCM": 1 << 17})
    assert set(plan_model(graph, small).regions) == {"TCM"}
    half = board_of("cortex-m7", {"MAIN": 1 << 17, "TCM": 40_000})
    plan = plan_model(graph, half)
    assert plan.slot_of("x").region == "TCM"  # each value is multiplied 16 times
    assert plan.arena_bytes == whole.arena_bytes


def test_only_memory_that_works_at_once_or_says_how_holds_an_arena() -> None:
    names = {name: [bank.name for bank in banks_of(load_board(name))] for name in
             ("nucleo_h743zi", "nucleo_f746zg", "nucleo_l476rg", "qemu_an500")}  # fmt: skip
    assert names == {
        "nucleo_h743zi": ["DTCM", "arena", "D2", "D3"],
        "nucleo_f746zg": ["arena"],
        "nucleo_l476rg": ["arena", "SRAM2"],
        "qemu_an500": ["arena", "PSRAM"],
    }
    board = load_board("qemu_an500")
    silent = tuple(replace(region, enable=None) for region in board.regions)
    assert [bank.name for bank in banks_of(replace(board, regions=silent))] == ["arena"]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("region", "D9", 'has no region "D9", only "arena", "D2", "DTCM"'),
        ("offset", 294_000, "bytes 294000 to 562800 leave the 294912 bytes of D2"),
    ],
)
def test_a_plan_that_leaves_its_region_is_refused(key: str, value: object, said: str) -> None:
    board, graph = load_board("nucleo_h743zi"), two_large_maps(140)
    values = json.loads(plan_to_json(plan_model(graph, board)))
    slot = next(slot for slot in values["slots"] if slot["region"] == "D2")
    slot[key] = value
    values["arena_bytes"] += 300_000
    with pytest.raises(FitError) as caught:
        check_plan(graph, plan_from_json(json.dumps(values)), board)
    assert (caught.value.code, caught.value.where) == ("E303", f'slot "{slot["name"]}"')
    assert said in caught.value.what
