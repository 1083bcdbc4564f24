"""Networks on an emulated 32-bit RISC-V: RV32IMC, QEMU's machine ``virt``, no operating system."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path

from codegen.emit import emit, support
from runtimes.host.library import WARNINGS, write_files
from runtimes.toolchains import zig, zig_cache
from tests.ops.unity import UNIT, unite
from toolchain.ir import Graph
from toolchain.plan import plan_layers

QEMU = "qemu-system-riscv32"
GCC = ("riscv64-unknown-elf-gcc", "-march=rv32imc", "-mabi=ilp32", "-mcmodel=medany")
_ZIG = ("-target", "riscv32-freestanding-none", "-mcpu=generic_rv32+m+c", "-mcmodel=medany")
_FLAGS = ("-O2", "-g0", "-ffreestanding", "-fno-builtin", "-nostdlib", "-Iinclude", "-Isrc")
_LAYOUT = """\
SECTIONS
{
    . = 0x80000000;
    .text : { *(.text.start) *(.text*) *(.rodata*) *(.srodata*) }
    .data : { *(.data*) *(.sdata*) }
    .bss : { *(.sbss*) *(.bss*) *(COMMON) }
    /DISCARD/ : { *(.eh_frame*) }
}
"""
# Memory, UART and the device that ends the machine: QEMU 7.2, hw/riscv/virt.c.
_START = """\
#include <stdint.h>

__asm__(".section .text.start\\n.globl _start\\n_start: lui sp, 0x87000\\n call main\\n1: j 1b\\n");

static uint32_t state;

static void put(char c)
{
    *(volatile uint8_t *)0x10000000u = (uint8_t)c;
}

static void fill(uint8_t *bytes, uint32_t count)
{
    while (count--) {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        *bytes++ = (uint8_t)(state >> 24);
    }
}

static void print_crc(const uint8_t *bytes, uint32_t count)
{
    uint32_t crc = 0xFFFFFFFFu;
    while (count--) {
        crc ^= *bytes++;
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ (crc & 1u ? 0xEDB88320u : 0u);
        }
    }
    crc = ~crc;
    for (int shift = 28; shift >= 0; shift -= 4) {
        put("0123456789ABCDEF"[crc >> shift & 15u]);
    }
    put('\\n');
}

int main(void);
int main(void)
{
"""
_END = """\
    *(volatile uint32_t *)0x100000u = 0x5555u;
    return 0;
}
"""


def compilers() -> dict[str, tuple[str, ...]]:
    """Return the commands of the compilers that are installed."""
    found = {"gcc": GCC} if shutil.which(GCC[0]) else {}
    clang = zig()
    return found | ({"zig": (*clang.command, *_ZIG)} if clang else {})


def golden_on_rv32(
    graphs: Mapping[str, Graph], compiler: tuple[str, ...], folder: Path
) -> Iterator[int]:
    """Yield the CRC-32 of each output of each graph, for the inputs of `golden_sums`' first case.

    Args:
        graphs: ``{C prefix: network}``, int8 inputs and outputs.
        compiler: of `compilers`.
        folder: where to build.
    """
    files = unite({name: emit(graph, plan_layers(graph), name) for name, graph in graphs.items()})
    headers = resources.files("runtimes.mcu") / "freestanding"
    extra = {"src/main.c": _program(graphs), "src/tsr_libc.c": support("tsr_libc.c")}
    write_files({**files, **extra, "layout.ld": _LAYOUT}, folder)
    command = [*compiler, *WARNINGS, *_FLAGS, f"-isystem{headers}", UNIT, *extra]
    link = ["-Tlayout.ld", "-o", "networks.elf"]
    libraries = ["-lgcc"] if compiler[0] == GCC[0] else []
    environment = {**os.environ, **zig_cache()}
    done = subprocess.run(
        [*command, *link, *libraries],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    machine = [QEMU, "-M", "virt", "-bios", "none", "-nographic", "-kernel", "networks.elf"]
    ran = subprocess.run(
        machine, cwd=folder, capture_output=True, text=True, check=True, timeout=300
    )
    yield from (int(line, 16) for line in ran.stdout.split())


def _program(graphs: Mapping[str, Graph]) -> str:
    headers = "".join(f'#include "{name}.h"\n' for name in graphs)
    calls = []
    for name, graph in graphs.items():
        inputs = enumerate(graph.input_tensors)
        outputs = enumerate(graph.output_tensors)
        calls.append("    state = 1;\n")
        calls += [f"    fill((uint8_t *){name}_input_{i}(), {t.nbytes});\n" for i, t in inputs]
        calls.append(f"    {name}_run();\n")
        calls += [
            f"    print_crc((const uint8_t *){name}_output_{i}(), {t.nbytes});\n"
            for i, t in outputs
        ]
    return headers + _START + "".join(calls) + _END
