"""A whole project as text: C library, application, start-up code, linker scripts, PlatformIO."""

from __future__ import annotations

from dataclasses import dataclass

from boards import Board, load_board
from codegen.call import C_TYPES, identifier
from codegen.cores import (
    GCC_LINK_FLAGS,
    OPTIMISE,
    ZIG_LINK_FLAGS,
    fpu_flags,
    gcc_core_flags,
    zig_core_flags,
)
from codegen.emit import emit, support
from codegen.firmware import STACK_BYTES, board_files, linker_script, support_files
from codegen.golden import golden_sums
from codegen.render import render
from toolchain.ir.graph import Graph
from toolchain.plan.hot import hot_bytes
from toolchain.plan.plan import ARENA, Plan

QEMU_FLAGS = (
    "-nographic", "-monitor", "none", "-semihosting-config", "enable=on,target=native",
    "-icount", "shift=6",
)  # fmt: skip
_LOCAL = "symlink://platform"
# Registry platforms that build without a framework, as they are named in platformio.ini.
_REGISTRY = {"ststm32": "ststm32@19.6.0", "nordicnrf52": "nordicnrf52"}
_SPARE_FLASH = 32 * 1024


@dataclass(frozen=True)
class Environment:
    """One ``[env:...]`` of ``platformio.ini``.

    Attributes:
        name: of the environment.
        comment: what it is for.
        platform: local or from the registry.
        board: the platform's name of the board.
        target: our board that it builds for.
        protocol: upload protocol, empty for the platform's own.
    """

    name: str
    comment: str
    platform: str
    board: str
    target: Board
    protocol: str = ""

    @property
    def registry(self) -> bool:
        """Tell whether the platform comes from PlatformIO's registry."""
        return self.platform != _LOCAL

    @property
    def script(self) -> str:
        """Return the linker script."""
        return linker_script(self.target)

    @property
    def include(self) -> str:
        """Return the folder of the board's header."""
        return self.target.id

    @property
    def core_flags(self) -> str:
        """Return the compiler flags that framework-less platforms leave out."""
        return " ".join(fpu_flags(self.target))


def project_files(
    graph: Graph, plan: Plan, board: Board, *, name: str, stack_bytes: int = STACK_BYTES
) -> dict[str, str]:
    """Return a PlatformIO project that runs ``graph`` as ``plan`` says: ``{path: text}``.

    The same arguments give the same bytes. For a board that is no Cortex-M only the library is
    made: its own platform brings the rest.

    Args:
        graph: a verified integer graph.
        plan: a checked plan of that graph.
        board: any board.
        name: of the project; the C prefix is made from it.
        stack_bytes: bytes reserved for the stack, a multiple of 8.
    """
    prefix = identifier(name)
    library = _library(graph, plan, name, prefix)
    if not board.core.startswith("cortex-m"):
        return library
    environments = _environments(graph, plan, board, stack_bytes)
    feed = graph.tensors[plan.feed] if plan.feed else None
    files = {**library, **support_files(fed=feed is not None), **_platform(environments)}
    heated = {hot.region for hot in plan.hot}
    for target in {e.target.id: e.target for e in environments}.values():
        files |= board_files(target, stack_bytes, plan.regions, heated)
    values = {"name": name, "p": prefix, "board": board, "environments": environments, "feed": feed}
    values["pull"] = plan.pull
    values["banks"] = [region for region in plan.regions if region != ARENA]
    ports = {"inputs": graph.input_tensors, "outputs": graph.output_tensors}
    ports["states"] = tuple(graph.tensors[state.read] for state in graph.states)
    files |= {
        "src/main.c": render("project/main.c.j2", **values, **ports),
        "platformio.ini": render("project/platformio.ini.j2", **values),
        "test/test_golden/test_main.c": render(
            "project/test_main.c.j2", golden=golden_sums(graph), **values, **ports
        ),
        "README.md": render("project/README.md.j2", **values, **_summary(graph, plan)),
        ".gitignore": ".pio/\n",
    }
    if feed is not None:
        for extension in ("c", "h"):
            text = render(f"project/camera.{extension}.j2", ctype=C_TYPES[feed.dtype], **values)
            files[f"src/{prefix}_camera.{extension}"] = text
    return files


def _library(graph: Graph, plan: Plan, name: str, prefix: str) -> dict[str, str]:
    emitted = emit(graph, plan, prefix)
    sources = sorted(path for path in emitted if path.endswith(".c"))
    emitted["library.json"] = render("project/library.json.j2", name=name, p=prefix)
    emitted["CMakeLists.txt"] = render("project/CMakeLists.txt.j2", p=prefix, sources=sources)
    return {f"lib/{prefix}/{path}": text for path, text in emitted.items()}


def _environments(graph: Graph, plan: Plan, board: Board, stack: int) -> tuple[Environment, ...]:
    """Return the emulated board first, then the real one with local tools and with the registry."""
    found = []
    emulated = load_board(board.emulation.stand_in) if board.emulation.stand_in else board
    copied = sum(hot_bytes(graph, plan).values())
    room = plan.arena_bytes + copied + stack + 2048 <= emulated.ram.size
    room = room and graph.weight_bytes + _SPARE_FLASH <= emulated.flash.size
    if emulated.emulation.qemu and room:
        comment = f"{emulated.name}: build and run in QEMU, nothing is downloaded"
        found.append(Environment(emulated.id, comment, _LOCAL, emulated.id, emulated))
    if emulated is not board or not found:
        comment = f"{board.name}: compiler and flasher of this computer"
        protocol = "openocd" if board.flashing and board.flashing.openocd else ""
        found.append(Environment(f"{board.id}_local", comment, _LOCAL, board.id, board, protocol))
    if board.platformio and board.platformio.platform in _REGISTRY:
        platform = _REGISTRY[board.platformio.platform]
        comment = f"{board.name}: PlatformIO's own platform, downloaded"
        names = (board.id, comment, platform, board.platformio.board)
        protocol = board.flashing.protocol if board.flashing else ""
        found.append(Environment(*names, board, protocol))
    return tuple(found)


def _platform(environments: tuple[Environment, ...]) -> dict[str, str]:
    values = {
        "link_flags": _quoted(GCC_LINK_FLAGS),
        "zig_link_flags": _quoted(ZIG_LINK_FLAGS),
        "optimise": " ".join(OPTIMISE),
        "qemu_flags": list(QEMU_FLAGS),
    }
    files = {
        "platform/platform.json": render("project/platform/platform.json.j2"),
        "platform/platform.py": render("project/platform/platform.py.j2"),
        "platform/builder/main.py": render("project/platform/main.py.j2", **values),
        "platform/freestanding/string.h": support("freestanding/string.h"),
        "scripts/tsr_flags.py": render("project/tsr_flags.py.j2", **values),
        "test/test_custom_runner.py": render("project/test_custom_runner.py.j2", **values),
    }
    for target in (e.target for e in environments if not e.registry):
        files[f"platform/boards/{target.id}.json"] = render(
            "project/platform/board.json.j2",
            board=target,
            gcc_flags=" ".join(gcc_core_flags(target)),
            zig_flags=" ".join(zig_core_flags(target)),
        )
    return files


def _quoted(words: tuple[str, ...]) -> str:
    return ", ".join(f'"{word}"' for word in words)


def _summary(graph: Graph, plan: Plan) -> dict[str, object]:
    return {
        "macs": graph.macs,
        "arena": plan.arena_bytes,
        "weights": graph.weight_bytes,
        "in_type": C_TYPES[graph.input_tensors[0].dtype],
        "out_type": C_TYPES[graph.output_tensors[0].dtype],
    }
