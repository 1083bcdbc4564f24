"""QEMU: other machine, same firmware, same numbers, same counts."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from boards.board import Emulation
from runtimes.emulator.choose import open_emulator
from runtimes.emulator.emulator import Emulator
from runtimes.emulator.qemu import QemuEmulator
from runtimes.toolchains import build_firmware
from tests.runtimes.networks import small_network
from toolchain.errors import ToolError
from toolchain.ir import run

pytestmark = pytest.mark.skipif(not shutil.which("qemu-system-arm"), reason="needs QEMU")


@pytest.mark.parametrize(
    "board", ["qemu_an385", "qemu_an386", "qemu_an500", "qemu_an505", "qemu_an547"]
)
def test_qemu_equals_the_interpreter(board: str, tmp_path: Path) -> None:
    network = small_network(board)
    firmware = build_firmware(network.files, network.board, tmp_path)
    with QemuEmulator(firmware, network.board, network.graph, network.plan.hash) as qemu:
        for seed in range(2):
            inputs = network.inputs(seed)
            expected = run(network.graph, inputs)
            np.testing.assert_array_equal(qemu.run(inputs).outputs, expected)


@pytest.mark.parametrize("board", ["qemu_an385", "qemu_an386", "qemu_an500", "qemu_an505"])
def test_two_emulators_count_alike(board: str, tmp_path: Path) -> None:
    network = small_network(board)
    firmware = build_firmware(network.files, network.board, tmp_path)
    arguments = (firmware, network.board, network.graph, network.plan.hash)
    inputs = network.inputs(0)
    with QemuEmulator(*arguments) as qemu:
        counted = qemu.run(inputs)
    exact = Emulator(*arguments).run(inputs)
    assert abs(counted.instructions - exact.instructions) < 40 * (len(exact.layers) + 1)
    assert counted.stack_bytes == exact.stack_bytes
    for a, b in zip(counted.layers, exact.layers, strict=True):
        assert abs(a.instructions - b.instructions) < 40  # the marks between the layers


@pytest.mark.parametrize(("board", "kind"), [("qemu_an547", QemuEmulator), ("pico", Emulator)])
def test_each_board_gets_its_emulator(board: str, kind: type, tmp_path: Path) -> None:
    network = small_network(board)
    firmware = build_firmware(network.files, network.board, tmp_path)
    inputs = network.inputs(0)
    arguments = (firmware, network.board, network.graph, network.plan.hash)
    with open_emulator(*arguments) as emulator:
        assert isinstance(emulator, kind)
        done = emulator.run(inputs)
    np.testing.assert_array_equal(done.outputs, run(network.graph, inputs))


def test_a_board_that_nothing_emulates_is_refused(tmp_path: Path) -> None:
    network = small_network("pico")
    firmware = build_firmware(network.files, network.board, tmp_path)
    board = replace(network.board, emulation=Emulation())
    with pytest.raises(ToolError) as error:
        open_emulator(firmware, board, network.graph, network.plan.hash)
    assert error.value.code == "E604"
