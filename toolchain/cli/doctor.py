"""``tessera doctor``: what is installed, and what each missing piece is for."""

from __future__ import annotations

import importlib.util
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version

import click

from toolchain.cli.report import Reporter, common_options
from toolchain.cli.table import print_table

# (what it is for, distribution, module, extra)
_PACKAGES = (
    ("arrays: all but the devices of a cluster", "numpy", "numpy", "mcu"),
    ("templates of the generated C", "jinja2", "jinja2", "mcu"),
    ("reading and writing .tflite", "tflite", "tflite", "mcu"),
    ("emulator", "unicorn", "unicorn", "mcu"),
    ("compiler for host and Cortex-M", "ziglang", "ziglang", "mcu"),
    ("serial port of a board", "pyserial", "serial", "mcu"),
    ("building and flashing projects", "platformio", "platformio", "flash"),
    ("optimal memory layouts", "ortools", "ortools", "solver"),
    ("cluster runtime", "pyzmq", "zmq", "worker"),
    ("tokenizers of language models", "tokenizers", "tokenizers", "cluster-convert"),
)
# (what it is for, program, Debian package)
_PROGRAMS = (
    ("C compiler of this machine", "cc", "gcc"),
    ("cross compiler (else ziglang)", "arm-none-eabi-gcc", "gcc-arm-none-eabi"),
    ("emulator of Cortex-M55", "qemu-system-arm", "qemu-system-arm"),
    ("flashing without PlatformIO's packages", "openocd", "openocd"),
)


@click.command()
@common_options
def command(reporter: Reporter) -> int:
    """Show which tools are installed and how to get those that are not."""
    rows = [("Python", "yes", platform.python_version(), "")]
    rows += [_package(*row) for row in _PACKAGES]
    rows += [_program(*row) for row in _PROGRAMS]
    rows.append(_ports())
    print_table(reporter, ("for", "found", "which", "to install"), rows)
    found = {what: {"found": yes == "yes", "which": which} for what, yes, which, _ in rows}
    return reporter.result({"tools": found})


def _package(what: str, name: str, module: str, extra: str) -> tuple[str, str, str, str]:
    if importlib.util.find_spec(module) is None:
        return what, "no", name, f'pip install "tessera[{extra}]"'
    try:
        return what, "yes", f"{name} {version(name)}", ""
    except PackageNotFoundError:
        return what, "yes", name, ""


def _program(what: str, name: str, package: str) -> tuple[str, str, str, str]:
    path = shutil.which(name)
    return (what, "yes", path, "") if path else (what, "no", name, f"apt install {package}")


def _ports() -> tuple[str, str, str, str]:
    what = "connected boards"
    if importlib.util.find_spec("serial") is None:
        return what, "no", "", 'pip install "tessera[mcu]"'
    from serial.tools import list_ports

    ports = [port.device for port in list_ports.comports() if port.vid is not None]
    return what, "yes" if ports else "no", ", ".join(ports), ""
