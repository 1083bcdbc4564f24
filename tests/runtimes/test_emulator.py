"""The emulator: numbers of host and interpreter, exact counts, faults that name their place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from boards import load_board
from codegen.emit import emit
from codegen.firmware import board_files, support_files
from runtimes.emulator.canaries import paint_unused, strays
from runtimes.emulator.machine import Machine
from runtimes.host.library import build_host
from runtimes.toolchains import Toolchain, build_firmware, gcc, zig
from tests.runtimes.networks import small_network
from toolchain.errors import DeviceError, FitError, ToolError
from toolchain.ir import run

TOOLCHAINS = [pytest.param(t, id=t.name) for t in (gcc(), zig()) if t is not None]


@pytest.mark.parametrize("toolchain", TOOLCHAINS)
@pytest.mark.parametrize("board", ["pico", "bluepill_f103c8", "nucleo_f446re", "nucleo_h563zi"])
def test_emulator_host_and_interpreter_agree(
    board: str, toolchain: Toolchain, tmp_path: Path
) -> None:
    network = small_network(board)
    emulator = network.emulator(tmp_path / "firmware", toolchain)
    host = build_host(network.graph, emit(network.graph, network.plan), tmp_path / "host")
    for seed in range(3):
        inputs = network.inputs(seed)
        expected = run(network.graph, inputs)
        np.testing.assert_array_equal(host.run(inputs), expected)
        np.testing.assert_array_equal(emulator.run(inputs).outputs, expected)


def test_counts_repeat_exactly_and_add_up(tmp_path: Path) -> None:
    network = small_network("nucleo_f746zg")
    first, second = (network.emulator(tmp_path) for _ in range(2))
    runs = [e.run(network.inputs(seed)) for e in (first, second) for seed in (1, 1)]
    assert len({(r.instructions, r.layers, r.stack_bytes) for r in runs}) == 1
    layers = sum(layer.instructions for layer in runs[0].layers)
    assert [layer.name[-6:] for layer in runs[0].layers] == ["conv2d", "conv2d", "nected"]
    assert layers < runs[0].instructions < layers + 100
    for number, layer in first.machine.image.layers("model").items():
        executed, taken = first.machine.executed(number)
        assert executed[(layer.address - network.board.flash.start) // 2] == 1
        assert executed.min() == 0
        assert 0 < taken.sum() < runs[0].layers[number].instructions


def test_a_stale_firmware_is_noticed(tmp_path: Path) -> None:
    network = small_network("nucleo_f446re")
    other = replace(network, plan=replace(network.plan, isa="other"))
    with pytest.raises(DeviceError, match="runs plan") as error:
        other.emulator(tmp_path)
    assert error.value.code == "E503"


def machine(body: str, folder: Path, board_id: str = "nucleo_f446re") -> Machine:
    """Return a machine whose main is ``body``."""
    board = small_network(board_id).board
    program = f'#include "tsr_port.h"\nint main(void);\n{body}\n'
    files = {**support_files(), **board_files(board), "src/main.c": program}
    return Machine(build_firmware(files, board, folder), board, limit=10_000_000)


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("*(volatile int *)0x60000000 = 1;", "write 4 bytes at 0x60000000"),
        ("*(volatile char *)0x08000000 = 1;", "write 1 bytes at 0x08000000"),
        ("(void)*(volatile int *)0x20020000;", "read 4 bytes at 0x20020000"),
        ("(void)*(volatile int *)0x0807fffe;", "read 4 bytes at 0x08080000"),
        ("((void (*)(void))0x20000001)();", "execute"),
        ('__asm volatile("udf #0");', "failed"),
        ("for (;;) { tsr_ticks(); }", "did not finish within 10000000"),
    ],
)
def test_a_fault_names_its_place(statement: str, what: str, tmp_path: Path) -> None:
    emulated = machine(f"int main(void)\n{{\n    {statement}\n    return 0;\n}}", tmp_path)
    with pytest.raises(ToolError, match=what) as error:
        emulated.start()
    assert error.value.code == "E603"


def test_a_fault_names_the_layer(tmp_path: Path) -> None:
    network = small_network("nucleo_f446re")
    path = "lib/model/src/model.c"
    head, tail = network.files[path].split("LAYER layer_01_depthwise_conv2d(void)\n{\n", 1)
    broken = "LAYER layer_01_depthwise_conv2d(void)\n{\n    *(volatile int *)0x10000000 = 0;\n"
    files = {**network.files, path: head + broken + tail}
    emulator = replace(network, files=files).emulator(tmp_path)
    with pytest.raises(ToolError, match="0x10000000") as error:
        emulator.run(network.inputs(0))
    assert error.value.where is not None
    assert error.value.where.startswith("layer_01_depthwise_conv2d: ")


def test_the_stack_mark_follows_the_depth(tmp_path: Path) -> None:
    deep = """void deep(void);
void __attribute__((noinline)) deep(void)
{
    volatile char local[SIZE];
    for (int i = 0; i < SIZE; i++) {
        local[i] = (char)i;
    }
    (void)local[0];
}
int main(void)
{
    deep();
    return 0;
}"""
    marks = []
    for size in (200, 1200):
        emulated = machine(deep.replace("SIZE", str(size)), tmp_path / str(size))
        emulated.start()
        marks.append(emulated.stack_used())
    assert marks[1] - marks[0] == 1000
    assert 200 < marks[0] < 300


def test_text_and_exit_status_arrive(tmp_path: Path) -> None:
    body = "int main(void)\n{\n    tsr_port_init();\n    return 7;\n}"
    emulated = machine(body, tmp_path, "qemu_an386")
    emulated.start()
    assert emulated.exit_status == 7


def test_a_firmware_that_does_not_fit_is_a_fit_error(tmp_path: Path) -> None:
    body = "static volatile char big[200000];\nint main(void)\n{\n    return big[0];\n}"
    with pytest.raises(FitError, match="does not fit nucleo_f446re") as error:
        machine(body, tmp_path)
    assert "RAM" in str(error.value.where)


def test_a_warning_about_an_overflow_is_no_matter_of_size(tmp_path: Path) -> None:
    body = "int main(void)\n{\n    return 2147483647 + 1;\n}"
    with pytest.raises(ToolError, match="refused the code") as error:
        machine(body, tmp_path)
    assert "overflow" in str(error.value.where)


def test_the_firmware_times_its_layers(tmp_path: Path) -> None:
    """The tick counter is modelled as an instruction counter: its layers match the exact ones."""
    network = small_network("nucleo_f446re")
    emulator = network.emulator(tmp_path)
    exact = emulator.run(network.inputs(0))
    timed = emulator.device_run(network.inputs(0))
    assert len(timed.layers) == len(exact.layers)
    for ticks, layer in zip(timed.layers, exact.layers, strict=True):
        assert abs(ticks - layer.instructions) < 60
    assert abs(timed.ticks - exact.instructions) < 100


def test_the_end_of_an_uneven_region_is_exact(tmp_path: Path) -> None:
    """A region need not be a multiple of the emulator's pages."""
    board = small_network("nucleo_f446re").board
    sizes = {region.name: region.size for region in board.regions}
    regions = tuple(replace(r, size=6 * 1024) if r.kind == "ram" else r for r in board.regions)
    small = replace(board, regions=regions[:2])
    assert {r.size for r in small.regions} == {6 * 1024, sizes["FLASH"]}
    for offset, fails in ((0x17FC, False), (0x1800, True)):
        access = f"(void)*(volatile int *)0x{0x20000000 + offset:x};"
        program = f"int main(void);\nint main(void)\n{{\n    {access}\n    return 0;\n}}\n"
        files = {**support_files(), **board_files(small), "src/main.c": program}
        emulated = Machine(build_firmware(files, small, tmp_path / str(offset)), small)
        if fails:
            with pytest.raises(ToolError, match="read 4 bytes at 0x20001800"):
                emulated.start()
        else:
            emulated.start()


def test_arrays_may_cross_from_one_ram_into_the_next(tmp_path: Path) -> None:
    board = load_board("nucleo_l4r5zi")
    first, second = [region for region in board.regions if region.kind == "ram"][:2]
    assert first.end == second.start
    program = f"""static volatile unsigned char large[{first.size + 512}];
int main(void);
int main(void)
{{
    large[sizeof large - 1u] = 1;
    return 0;
}}
"""
    files = {**support_files(), **board_files(board), "src/main.c": program}
    emulated = Machine(build_firmware(files, board, tmp_path), board)
    paint_unused(emulated)
    emulated.start()
    assert strays(emulated) is None
    emulated.write(second.start + 4096, b"\0")
    assert strays(emulated) == (second.start + 4096,) * 2


def test_answers_longer_than_the_buffer_arrive_whole(tmp_path: Path) -> None:
    body = """int main(void)
{
    tsr_port_init();
    for (uint32_t count = tsr_getc() * 1000u;; count = tsr_getc() * 1000u) {
        for (uint32_t i = 0; i < count; i++) {
            tsr_putc((uint8_t)(i % 251u));
        }
    }
}"""
    emulated = machine(body, tmp_path)
    emulated.start()
    for thousands in (1, 200, 65):
        sent = emulated.resume(bytes([thousands]))
        assert sent == bytes(i % 251 for i in range(thousands * 1000))
