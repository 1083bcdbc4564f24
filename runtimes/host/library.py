"""Compile a generated C library for this machine and call it through ctypes."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from toolchain.errors import ToolError
from toolchain.ir.graph import Graph
from toolchain.ir.tensor import Array, Tensor

_READER = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_void_p
)
WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-Wconversion")


def host_compiler() -> tuple[str, ...]:
    """Return the command of a C compiler: ``$CC``, the system's, or the ziglang wheel's clang.

    Raises:
        ToolError: E601 if there is none.
    """
    if chosen := os.environ.get("CC"):
        return (chosen,)
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return (name,)
    try:
        import ziglang  # noqa: F401
    except ImportError:
        raise ToolError(
            "E601", "no C compiler found", hints=['pip install "tessera[mcu]"', "apt install gcc"]
        ) from None
    return (sys.executable, "-m", "ziglang", "cc")


def write_files(files: Mapping[str, str], folder: Path) -> None:
    """Write ``{path: text}`` below ``folder``."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


@dataclass(frozen=True)
class HostModel:
    """A compiled network in this process.

    Calls are not thread-safe: the network has one static arena.
    """

    library: ctypes.CDLL
    prefix: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Run one case; arrays in and out have the graph's shapes and dtypes."""
        if hasattr(self.library, f"{self.prefix}_push_row"):
            self._push_rows(inputs[0])
            return [self._read(index, tensor) for index, tensor in enumerate(self.outputs)]
        if hasattr(self.library, f"{self.prefix}_run_from"):
            self._hand_over(inputs[0])
            return [self._read(index, tensor) for index, tensor in enumerate(self.outputs)]
        for index, (tensor, value) in enumerate(zip(self.inputs, inputs, strict=True)):
            data = np.ascontiguousarray(value, dtype=tensor.dtype.numpy)
            ctypes.memmove(self._address("input", index), data.ctypes.data, tensor.nbytes)
        getattr(self.library, f"{self.prefix}_run")()
        return [self._read(index, tensor) for index, tensor in enumerate(self.outputs)]

    def _push_rows(self, value: Array) -> None:
        """Hand over the input row by row, as a camera would."""
        place = getattr(self.library, f"{self.prefix}_input_row")
        place.restype = ctypes.c_void_p
        for number, row in enumerate(np.ascontiguousarray(value[0])):
            self.place(place(), number, row)
            getattr(self.library, f"{self.prefix}_push_row")()

    def _hand_over(self, value: Array) -> None:
        """Hand over the parts of the input that the network asks for."""
        image = np.ascontiguousarray(value[0], dtype=self.inputs[0].dtype.numpy)

        def read(source: int, row: int, column: int, count: int, pixels: int) -> None:
            del source
            part = np.ascontiguousarray(image[row, column : column + count])
            self.place(pixels, row, part)

        getattr(self.library, f"{self.prefix}_run_from")(_READER(read), None)

    def place(self, address: int, row: int, data: Array) -> None:
        """Write ``data``, a part of row ``row`` of the input, to ``address``."""
        del row
        ctypes.memmove(address, data.ctypes.data, data.nbytes)

    def _address(self, kind: str, index: int) -> int:
        function = getattr(self.library, f"{self.prefix}_{kind}_{index}")
        function.restype = ctypes.c_void_p
        return int(function())

    def _read(self, index: int, tensor: Tensor) -> Array:
        raw = ctypes.string_at(self._address("output", index), tensor.nbytes)
        return np.frombuffer(raw, tensor.dtype.numpy).reshape(tensor.shape)


def compile_host(files: Mapping[str, str], folder: Path, extra: Sequence[str] = ()) -> ctypes.CDLL:
    """Compile emitted ``files``, of one network or several, in ``folder`` and load the library.

    Args:
        files: ``{path: text}``.
        folder: where to build.
        extra: further options for the compiler, such as sanitizers.

    Raises:
        ToolError: E601 without a compiler, E602 if it refuses the code.
    """
    write_files(files, folder)
    sources = [str(folder / name) for name in files if name.endswith(".c")]
    library = folder / "libmodel.so"
    command = [*host_compiler(), *WARNINGS, "-O2", "-shared", "-fPIC"]
    done = subprocess.run(
        [*command, *extra, f"-I{folder / 'include'}", *sources, "-o", str(library), "-lm"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise ToolError("E602", "the C compiler refused the generated code", where=done.stderr)
    return ctypes.CDLL(str(library))


def build_host(
    graph: Graph, files: Mapping[str, str], folder: Path, prefix: str = "model"
) -> HostModel:
    """Compile the ``files`` emitted from ``graph`` in ``folder`` and load them."""
    library = compile_host(files, folder)
    if graph.states:
        getattr(library, f"{prefix}_init")()
    return HostModel(library, prefix, graph.input_tensors, graph.output_tensors)
