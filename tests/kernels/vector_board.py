"""Many networks in one firmware for QEMU's Cortex-M55, which checks their outputs itself."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from boards import load_board
from codegen.emit import emit
from codegen.firmware import board_files, support_files
from codegen.project import QEMU_FLAGS
from runtimes.host.library import write_files
from runtimes.toolchains import link
from tests.ops.harness import random_values
from tests.ops.unity import unite
from toolchain.ir import Array, Graph, run
from toolchain.kernels import Isa
from toolchain.plan import Plan, plan_layers

_FLAGS = ("-g0", "-Iinclude", "-UTSR_PROFILE")
_HEAD = """#include <string.h>
#include "tsr_port.h"
static void report(int seed)
{
    char text[] = "000 differs\\n";
    text[0] = (char)('0' + seed / 100), text[1] = (char)('0' + seed / 10 % 10);
    text[2] = (char)('0' + seed % 10);
    tsr_puts(text);
}
int main(void);
int main(void)
{
    tsr_port_init();
"""
_GIVE = "    memcpy({name}_input_{i}(), {name}_x{case}_{i}, sizeof {name}_x{case}_{i});\n"
_CHECK = """    if (memcmp({name}_output_{i}(), {name}_y{case}_{i}, sizeof {name}_y{case}_{i})) {{
        report({seed});
    }}
"""


def wrong_seeds(
    make: Callable[[np.random.Generator], Graph],
    folder: Path,
    seeds: Sequence[int],
    planned: Callable[[Graph, Isa], Plan] = plan_layers,
) -> str:
    """Return what the firmware reports: a line for each output that differs."""
    graphs = {seed: make(np.random.default_rng(seed)) for seed in seeds}
    networks = {_name(s): emit(g, planned(g, Isa.MVE), _name(s)) for s, g in graphs.items()}
    board = load_board("qemu_an547")
    files = {
        **unite(networks),
        **support_files(),
        **board_files(board),
        "src/main.c": _main(graphs),
    }
    write_files(files, folder)
    firmware = link(files, board, folder, extra=_FLAGS)
    command = ["-M", board.emulation.qemu, "-serial", "stdio", "-kernel", str(firmware.elf)]
    done = subprocess.run(
        ["qemu-system-arm", *command, *QEMU_FLAGS],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return done.stdout + (f"exit status {done.returncode}\n" if done.returncode else "")


def _name(seed: int) -> str:
    return f"case{seed}"


def _main(graphs: Mapping[int, Graph]) -> str:
    data, calls = [], []
    for seed, graph in graphs.items():
        rng, name = np.random.default_rng(seed), _name(seed)
        data.append(f'#include "{name}.h"\n')
        for case in range(2):
            inputs = [random_values(tensor, rng) for tensor in graph.input_tensors]
            for i, value in enumerate(inputs):
                data.append(_array(f"{name}_x{case}_{i}", value))
                calls.append(_GIVE.format(name=name, case=case, i=i))
            calls.append(f"    {name}_run();\n")
            for i, value in enumerate(run(graph, inputs)):
                data.append(_array(f"{name}_y{case}_{i}", value))
                calls.append(_CHECK.format(name=name, case=case, i=i, seed=seed))
    return "".join(data) + _HEAD + "".join(calls) + "    return 0;\n}\n"


def _array(name: str, values: Array) -> str:
    text = ", ".join(map(str, values.reshape(-1).tolist()))
    return f"static const int8_t {name}[{values.size}] = {{{text}}};\n"
