"""The generated C under AddressSanitizer and UndefinedBehaviorSanitizer, in its own process."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from codegen.render import render
from runtimes.host.library import WARNINGS, host_compiler, write_files
from runtimes.host.pipe import join_cases, split_outputs
from toolchain.errors import InternalError, ToolError
from toolchain.ir.graph import Graph
from toolchain.ir.tensor import Array

_CHECKS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")


class SanitizedModel:
    """A network as a program that stops at the first wrong access or undefined operation.

    Args:
        graph: the network.
        files: emitted from it.
        folder: where to build.
        prefix: C prefix of the network.

    Raises:
        ToolError: E601 without a compiler, E602 if it refuses the code or has no sanitizers.
    """

    def __init__(
        self, graph: Graph, files: Mapping[str, str], folder: Path, prefix: str = "model"
    ) -> None:
        self._inputs, self._outputs = graph.input_tensors, graph.output_tensors
        feed = "_INPUT_ROW_BYTES" in files[f"include/{prefix}.h"]
        self._program = (folder / "batch").resolve()
        ports = {"inputs": self._inputs, "outputs": self._outputs}
        pull = f"include/{prefix}_image.h" in files
        program = render(
            "host/batch.c.j2", p=prefix, feed=feed, pull=pull, instances=False, **ports
        )
        write_files({**files, "src/batch.c": program}, folder)
        sources = [name for name in (*files, "src/batch.c") if name.endswith(".c")]
        command = [*host_compiler(), *WARNINGS, "-O1", "-g", *_CHECKS, "-Iinclude", "-Isrc"]
        done = subprocess.run(
            [*command, *sources, "-o", str(self._program), "-lm"],
            cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise ToolError("E602", "the C compiler refused the code", where=done.stderr[-4000:])

    def run(self, cases: Sequence[Sequence[Array]]) -> list[list[Array]]:
        """Run cases, one array per graph input each; return the outputs of each.

        Raises:
            InternalError: E902 with the sanitizer's report.
        """
        data = join_cases(self._inputs, cases)
        environment = {**os.environ, "UBSAN_OPTIONS": "print_stacktrace=1"}
        done = subprocess.run(
            [str(self._program)], input=data, env=environment, capture_output=True, check=False
        )
        if done.returncode:
            report = done.stderr.decode("utf-8", "replace")[:4000]
            raise InternalError("E902", "the generated C is not sound", where=report)
        return split_outputs(self._outputs, done.stdout, len(cases))
