"""What an audio front end costs on a core: ``python -m benchmarks.frontend FRONTEND.toml``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from boards import load_board
from codegen.cores import OPTIMISE
from codegen.frontend import audio_files, audio_ram_bytes
from codegen.project import project_files
from runtimes.emulator.machine import Machine
from runtimes.host.library import write_files
from runtimes.toolchains import link
from toolchain.frontend import AudioFrontend, AudioSpec, read_frontend
from toolchain.ir import DType, Graph, Node, Quant, Tensor, verify
from toolchain.ops import Relu
from toolchain.plan import plan_layers

BOARDS = ("nucleo_l073rz", "nucleo_f446re", "nucleo_h743zi")
PROBE = """
#include "net_audio.h"
static int16_t samples[NET_AUDIO_WINDOW];
static int8_t features[NET_AUDIO_FEATURES];
void probe(void);
__attribute__((used)) void probe(void)
{
    for (int i = 0; i < NET_AUDIO_WINDOW; i++) {
        samples[i] = (int16_t)((i * 7919 & 0x3FFF) - 0x2000);
    }
    net_audio_frame(samples, features);
}
"""


def instructions(frontend: AudioFrontend, board_id: str) -> int:
    """Return the instructions of one frame on a board's emulated core."""
    board = load_board(board_id)
    quant = Quant.per_tensor(0.1)
    ports = {name: Tensor(name, (1, 4), DType.INT8, quant) for name in "xy"}
    graph = verify(Graph("net", (Node("relu", Relu(), ("x",), ("y",)),), ports, ("x",), ("y",)))
    files = project_files(graph, plan_layers(graph), board, name="net")
    files |= {f"lib/net/{path}": text for path, text in audio_files(frontend, "net").items()}
    files["src/probe.c"] = PROBE
    with tempfile.TemporaryDirectory() as folder:
        write_files(files, Path(folder))
        firmware = link(files, board, Path(folder), extra=["-Wl,-u,probe"])
        machine = Machine(firmware, board)
        machine.start()
        return machine.call("probe")


def main(path: str) -> None:
    spec = read_frontend(Path(path))
    assert isinstance(spec, AudioSpec)
    tensor = Tensor("x", (1, spec.features), DType.INT8, Quant.per_tensor(0.5))
    frontend = AudioFrontend.of(spec, tensor)
    print(f"{spec.features} features, {audio_ram_bytes(frontend)} bytes of RAM, {OPTIMISE[0]}")
    for board in BOARDS:
        count = instructions(frontend, board)
        share = count * spec.sample_rate / spec.hop / (load_board(board).mhz * 1e6)
        print(
            f"{board:16} {count:>9,} instructions per frame, {share:.1%} of real time at one each"
        )


if __name__ == "__main__":
    np.seterr(all="raise")
    main(sys.argv[1])
