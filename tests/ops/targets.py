"""Where the harness runs many networks at once: this machine, and an emulated Cortex-M."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np

from boards import load_board
from codegen.firmware import board_files, support_files
from runtimes.emulator.machine import Machine
from runtimes.host.library import HostModel, compile_host, write_files
from runtimes.toolchains import link
from tests.ops.unity import UNIT
from toolchain.ir import Array, Graph, Tensor

_FLAGS = ("-g0", "-Iinclude", "-UTSR_PROFILE", "-Wl,--no-gc-sections")
_MAIN = "int main(void);\nint main(void)\n{\n    return 0;\n}\n"


class Target(Protocol):
    """Runs any of the compiled networks."""

    name: str

    def start(self, prefix: str) -> None: ...

    def run(self, prefix: str, graph: Graph, inputs: Sequence[Array]) -> list[Array]: ...


class HostTarget:
    name = "host"

    def __init__(self, files: Mapping[str, str], folder: Path) -> None:
        self._library = compile_host(files, folder)

    def start(self, prefix: str) -> None:
        getattr(self._library, f"{prefix}_init")()

    def run(self, prefix: str, graph: Graph, inputs: Sequence[Array]) -> list[Array]:
        model = HostModel(self._library, prefix, graph.input_tensors, graph.output_tensors)
        return model.run(inputs)


class EmulatedTarget:
    """One firmware with all networks; their functions are called without the protocol."""

    def __init__(self, files: Mapping[str, str], folder: Path, board_id: str) -> None:
        board = load_board(board_id)
        self.name = f"emulated {board.core}"
        needed = {**support_files(), **board_files(board), "src/main.c": _MAIN}
        write_files({**files, **needed}, folder)
        names = [*needed, UNIT]
        self.machine = Machine(link(names, board, folder, extra=_FLAGS), board)
        self.machine.start()

    def start(self, prefix: str) -> None:
        self.machine.call(f"{prefix}_init")

    def run(self, prefix: str, graph: Graph, inputs: Sequence[Array]) -> list[Array]:
        for index, value in enumerate(inputs):
            address = self.machine.call_address(f"{prefix}_input_{index}")
            self.machine.write(address, np.ascontiguousarray(value).tobytes())
        self.machine.call(f"{prefix}_run")
        return [self._output(prefix, i, t) for i, t in enumerate(graph.output_tensors)]

    def _output(self, prefix: str, index: int, tensor: Tensor) -> Array:
        address = self.machine.call_address(f"{prefix}_output_{index}")
        content = self.machine.read(address, tensor.nbytes)
        return np.frombuffer(content, tensor.dtype.numpy).reshape(tensor.shape)


def build_targets(
    files: Mapping[str, str], folder: Path, board_id: str, *, host: bool
) -> list[Target]:
    """Compile for an emulated board and, with ``host``, for this machine, both at the same time."""
    with ThreadPoolExecutor(2) as pool:
        emulated = pool.submit(EmulatedTarget, files, folder / "emulator", board_id)
        jobs: list[Future[Target]] = [emulated]
        if host:
            jobs.append(pool.submit(HostTarget, files, folder / "host"))
        return [job.result() for job in jobs]
