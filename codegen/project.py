"""A whole project as text: C library, application, start-up code, linker scripts, PlatformIO."""

from __future__ import annotations

from boards import Board
from codegen.emit import emit
from codegen.firmware import STACK_BYTES, board_files, support_files
from codegen.model import identifier
from codegen.render import render
from toolchain.ir.graph import Graph
from toolchain.plan.plan import Plan


def project_files(
    graph: Graph, plan: Plan, board: Board, *, name: str, stack_bytes: int = STACK_BYTES
) -> dict[str, str]:
    """Return a PlatformIO project that runs ``graph`` as ``plan`` says: ``{path: text}``.

    The same arguments give the same bytes.

    Args:
        graph: a verified integer graph.
        plan: a checked plan of that graph.
        board: a Cortex-M board.
        name: of the project; the C prefix is made from it.
        stack_bytes: bytes reserved for the stack, a multiple of 8.
    """
    prefix = identifier(name)
    library = {f"lib/{prefix}/{path}": text for path, text in emit(graph, plan, prefix).items()}
    return {
        **library,
        **support_files(),
        **board_files(board, stack_bytes),
        "src/main.c": _application(graph, name, prefix),
    }


def _application(graph: Graph, name: str, prefix: str) -> str:
    return render(
        "project/main.c.j2",
        name=name,
        p=prefix,
        inputs=[tensor.nbytes for tensor in graph.input_tensors],
        outputs=[tensor.nbytes for tensor in graph.output_tensors],
    )
