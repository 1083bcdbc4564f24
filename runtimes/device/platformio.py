"""PlatformIO, also where its registry is out of reach.

PlatformIO asks its registry for SCons on every run. A private core folder that already holds a
package of that name, made of the installed ``scons`` wheel, answers in its place; the projects
bring their own platform. Environments with a registry platform work where the registry does.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runtimes.cache import cache_folder
from runtimes.toolchains import zig_cache
from toolchain.errors import DeviceError, ToolError


@dataclass(frozen=True)
class PioResult:
    """What a run of PlatformIO said."""

    output: str
    status: int


class PlatformIO:
    """PlatformIO for one project.

    Args:
        project: folder of ``platformio.ini``.
        core: private core folder; by default one in the user's cache.

    Raises:
        ToolError: E601 if PlatformIO or SCons is not installed.
    """

    def __init__(self, project: Path, core: Path | None = None) -> None:
        for package in ("platformio", "SCons"):
            if importlib.util.find_spec(package) is None:
                hints = ['pip install "tessera[flash]"']
                raise ToolError("E601", f"{package} is not installed", hints=hints)
        self.project = project
        self.core = core or cache_folder() / "platformio"
        _prepare_core(self.core)

    def run(self, environment: str | None = None, targets: Sequence[str] = ()) -> PioResult:
        """Build an environment, the project's default one if none is named.

        Args:
            environment: name of an ``[env:...]``.
            targets: such as ``"upload"``, or none to build.

        Raises:
            ToolError: E601 if the flashing tool is missing, E602 if the build fails.
            DeviceError: E501 if an upload fails.
        """
        chosen = ["-e", environment] if environment else []
        wanted = [word for target in targets for word in ("-t", target)]
        result = self._call(["run", *chosen, *wanted])
        if result.status == 0:
            return result
        tail = "\n".join(result.output.strip().splitlines()[-12:])
        if "[upload] Error 127" in result.output:  # the shell's status for an unknown command
            hints = ["apt install openocd"]
            raise ToolError("E601", "the flashing tool is not installed", where=tail, hints=hints)
        if "[upload] Error" in result.output:
            hints = ["connect the board's USB cable"]
            raise DeviceError("E501", "the upload failed", where=tail, hints=hints)
        raise ToolError("E602", "PlatformIO could not build the project", where=tail)

    def test(self, environment: str | None = None) -> PioResult:
        """Run the project's tests; ``status`` is 0 if all passed."""
        return self._call(["test", *(["-e", environment] if environment else [])])

    def monitor(self, port: str | None = None) -> int:
        """Show what the board sends until the user ends it; return PlatformIO's status."""
        chosen = ["--port", port] if port else []
        command = [*self._command(), "device", "monitor", *chosen]
        return subprocess.run(
            command, cwd=self.project, env=self._environment(), check=False
        ).returncode

    def _call(self, arguments: Sequence[str]) -> PioResult:
        done = subprocess.run(
            [*self._command(), *arguments],
            cwd=self.project, env=self._environment(), check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        return PioResult(done.stdout, done.returncode)

    def _command(self) -> list[str]:
        return [sys.executable, "-m", "platformio"]

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            **zig_cache(),
            "PLATFORMIO_CORE_DIR": str(self.core),
            "PLATFORMIO_DISABLE_UPGRADE_CHECK": "true",
            "PLATFORMIO_SETTING_ENABLE_TELEMETRY": "no",
            "PLATFORMIO_NO_ANSI": "true",
        }


def _prepare_core(core: Path) -> None:
    """Put a package that starts the installed SCons where PlatformIO looks for its own."""
    from platformio.dependencies import get_core_dependencies

    version = get_core_dependencies()["tool-scons"].lstrip("~^>=<")
    package = core / "packages" / "tool-scons"
    package.mkdir(parents=True, exist_ok=True)
    spec = {"owner": "platformio", "id": None, "name": "tool-scons"}
    origin = {
        "type": "tool",
        "name": "tool-scons",
        "version": version,
        "spec": {**spec, "requirements": None, "uri": None},
    }
    manifest = {"name": "tool-scons", "version": version, "system": "*"}
    files = {
        ".piopm": json.dumps(origin),
        "package.json": json.dumps(manifest),
        "scons.py": "from SCons.Script import main\n\nmain()\n",
        ".piokeep": "",
    }
    for name, text in files.items():
        path = package / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
