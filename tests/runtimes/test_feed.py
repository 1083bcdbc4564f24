"""Fed plans end to end: rows go in as they arrive, the outputs are the interpreter's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from boards import load_board
from codegen.emit import emit
from codegen.project import project_files
from nas.layer_list import Block, LayerList, build_graph
from runtimes.device.client import Client
from runtimes.emulator.emulator import Emulator, MachineLink
from runtimes.emulator.machine import Machine
from runtimes.host.sanitized import SanitizedModel
from runtimes.toolchains import build_firmware
from tests.runtimes.networks import Network
from tests.runtimes.test_device import NoisyLink
from toolchain.errors import ToolError
from toolchain.ir import run
from toolchain.plan import check_plan, plan_model

BOARD = load_board("nucleo_f446re")


@pytest.fixture(scope="module")
def network() -> Network:
    blocks = (Block(0, 6, 3, 1, residual=False), Block(12, 8, 3, 2, residual=False))
    graph = build_graph(LayerList("fed", (22, 18), 3, (3, 2, 8), blocks, 0, 5))
    plan = check_plan(graph, plan_model(graph, BOARD, fed=True))
    assert plan.feed == "input"
    return Network(graph, plan, BOARD, project_files(graph, plan, BOARD, name="model"))


@pytest.fixture(scope="module")
def emulator(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Emulator:
    return network.emulator(tmp_path_factory.mktemp("fed"))


def test_rows_on_the_wire_give_the_interpreters_bytes(network: Network, emulator: Emulator) -> None:
    assert emulator.info.row_bytes == 18 * 3
    counts = set()
    for seed in range(3):
        inputs = network.inputs(seed)
        done = emulator.run(inputs)
        np.testing.assert_array_equal(done.outputs, run(network.graph, inputs))
        counts.add(sum(layer.instructions for layer in done.layers))
        assert max(counts) < done.instructions < max(counts) * 1.2
    timed = emulator.device_run(network.inputs(0))
    assert abs(timed.ticks - done.instructions) < 22 * 100
    assert abs(sum(timed.layers) - max(counts)) < 0.05 * max(counts)


def test_rows_outlive_noise_on_the_wire(network: Network, emulator: Emulator) -> None:
    link = NoisyLink(emulator, 2)
    client = Client(link, network.graph, "noise")
    client.connect(network.plan.hash)
    for seed in range(20):
        inputs = network.inputs(seed)
        np.testing.assert_array_equal(client.run(inputs).outputs, run(network.graph, inputs))
    assert link.damaged > 5


def test_an_input_that_was_broken_off_is_started_again(
    network: Network, emulator: Emulator
) -> None:
    stop = MachineLink(emulator.machine)
    client = Client(stop, network.graph, "stop")
    client.connect(network.plan.hash)
    first, second = network.inputs(0), network.inputs(1)
    client._ask("P", b"\0\0\0\0" + first[0].tobytes()[:200], "p")
    np.testing.assert_array_equal(client.run(second).outputs, run(network.graph, second))


def test_the_linked_arena_is_the_plans(network: Network, tmp_path: Path) -> None:
    firmware = build_firmware(network.files, BOARD, tmp_path)
    assert network.plan.arena_bytes <= firmware.arena_bytes < network.plan.arena_bytes + 8


def test_a_write_outside_the_linked_ram_is_noticed(network: Network, tmp_path: Path) -> None:
    path = "lib/model/src/model.c"
    start = "int model_push_row(void)\n{\n"
    stray = f"{start}    *(volatile char *)0x20018000 = 1;\n"
    files = {**network.files, path: network.files[path].replace(start, stray)}
    emulated = Network(network.graph, network.plan, BOARD, files).emulator(tmp_path)
    with pytest.raises(ToolError, match="outside its own RAM, from 0x20018000"):
        emulated.run(network.inputs(0))


def machine_of(network: Network, program: str, folder: Path) -> Machine:
    """Return a started machine that runs ``program`` in place of the application."""
    own = "#define PIO_UNIT_TESTING\n" + network.files["src/main.c"]
    files = {**network.files, "src/main.c": own, "src/program.c": program}
    machine = Machine(build_firmware(files, BOARD, folder), BOARD)
    machine.start()
    return machine


def test_the_golden_test_feeds_rows(network: Network, tmp_path: Path) -> None:
    machine = machine_of(network, network.files["test/test_golden/test_main.c"], tmp_path)
    said = machine.resume(b"\n").decode()
    assert said.count("PASS") == 2
    assert "FAIL" not in said


CAMERA = """#include <string.h>

#include "model.h"
#include "model_camera.h"
#include "tsr_port.h"

int pictures;
uint32_t lost_lines;
int8_t answer[5];

int main(void)
{
    static const uint8_t pixels[] = {PIXELS};
    int done = 0, lines = 0;
    tsr_port_init();
    for (int left = 3; left <= 22; left += 19) { /* a picture that breaks off, then a whole one */
        const uint8_t *line = pixels;
        model_camera_frame();
        for (int i = 0; i < left; i++, line += MODEL_LINE_BYTES) {
            memcpy(model_camera_buffer(lines), line, MODEL_LINE_BYTES);
            model_camera_line(model_camera_buffer(lines++));
            done += model_camera_poll();
            done += model_camera_poll();
        }
    }
    pictures = done;
    lost_lines = model_camera_lost();
    memcpy(answer, model_output_0(), sizeof answer);
    return 0;
}
"""


def test_camera_lines_give_the_interpreters_bytes(network: Network, tmp_path: Path) -> None:
    (x,) = network.inputs(4)
    pixels = ", ".join(str(int(value) + 128) for value in x.ravel())
    machine = machine_of(network, CAMERA.replace("PIXELS", pixels), tmp_path)
    symbols = machine.image.symbols
    assert machine.read(symbols["pictures"], 4) == b"\1\0\0\0"
    assert machine.read(symbols["lost_lines"], 4) == bytes(4)
    got = np.frombuffer(machine.read(symbols["answer"], 5), np.int8)
    np.testing.assert_array_equal(got, run(network.graph, [x])[0].ravel())


def test_rows_under_the_sanitizers(network: Network, tmp_path: Path) -> None:
    cases = [network.inputs(seed) for seed in range(2)]
    model = SanitizedModel(network.graph, emit(network.graph, network.plan), tmp_path)
    for case, outputs in zip(cases, model.run(cases), strict=True):
        np.testing.assert_array_equal(outputs, run(network.graph, case))
