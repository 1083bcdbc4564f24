"""A network as a Python package for a board that runs Linux: C library, ctypes, numpy."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import PurePosixPath
from typing import Any

from boards import Board
from codegen.call import identifier
from codegen.emit import emit
from codegen.render import render
from toolchain.errors import UsageError
from toolchain.ir.graph import Graph
from toolchain.ir.tensor import Tensor
from toolchain.plan.plan import Plan

# No contraction of products and sums: float edges give the same bits on every CPU.
FLAGS = ("-std=c99", "-O3", "-ffp-contract=off", "-fPIC", "-shared", "-s")
_WHEEL_MACHINES = {"aarch64": "aarch64", "arm": "armv7l"}


def library_file(prefix: str) -> str:
    """Return the name of the shared library in the package."""
    return f"lib{prefix}.so"


def edge_library(graph: Graph, plan: Plan, prefix: str) -> dict[str, str]:
    """Return the C of a network whose arena is the caller's, with calls for batches.

    Args:
        graph: a verified integer graph.
        plan: a checked plan of that graph with a resident input.
        prefix: C identifier that starts every public name.

    Raises:
        UsageError: E140 if the plan takes its input in pieces.
    """
    if plan.feed:
        raise UsageError(
            "E140",
            "a Python package takes whole inputs; this plan is fed row by row",
            hints=["compile without --fed"],
        )
    ports = {"inputs": graph.input_tensors, "outputs": graph.output_tensors}
    return {
        **emit(graph, plan, prefix, instances=True),
        f"src/{prefix}_batch.h": render("edge/batch.h.j2", p=prefix),
        f"src/{prefix}_batch.c": render("edge/batch.c.j2", p=prefix, **ports),
    }


def package_files(graph: Graph, plan: Plan, board: Board, *, name: str) -> dict[str, str]:
    """Return a Python package that runs ``graph`` as ``plan`` says: ``{path: text}``.

    Args:
        graph: a verified integer graph.
        plan: a checked plan of that graph with a resident input.
        board: a board that runs Linux.
        name: of the package and the C prefix.

    Raises:
        UsageError: E140 if the plan takes its input in pieces.
    """
    prefix = identifier(name)
    assert board.linux is not None
    emitted = edge_library(graph, plan, prefix)
    sources = sorted(path for path in emitted if path.endswith(".c"))
    emitted["CMakeLists.txt"] = render("project/CMakeLists.txt.j2", p=prefix, sources=sources)
    folder = f"lib/{prefix}"
    values = {
        "board": board, "name": name, "p": prefix, "macs": graph.macs,
        "arena": plan.arena_bytes, "weights": graph.weight_bytes,
        "requires": ["numpy>=1.22"],
        "how": f"{graph.macs:,} multiply-accumulates, compiled from the C in lib/",
        **build_values(board, prefix, [f"{folder}/{source}" for source in sources]),
    }  # fmt: skip
    facts = compiled_facts(graph, plan, prefix, library_file(prefix))
    return {
        **{f"{folder}/{path}": text for path, text in emitted.items()},
        **python_files(prefix, facts, "compiled", values),
        "setup.py": render("edge/setup.py.j2", **values),
        "README.md": render("edge/README.md.j2", **values, graph=graph),
        ".gitignore": "*.so\nbuild/\n*.egg-info/\n",
    }


def compiled_facts(graph: Graph, plan: Plan, prefix: str, library: str) -> dict[str, Any]:
    """Return the JSON that `runtimes.edge.compiled` reads.

    Args:
        graph: the network.
        plan: of it.
        prefix: of its C names.
        library: the shared library's path, from the JSON's folder.
    """
    return {
        "prefix": prefix,
        "library": library,
        "plan_hash": plan.hash,
        "arena_bytes": plan.arena_bytes,
        "states": len(graph.states),
        "inputs": [_port_facts(tensor) for tensor in graph.input_tensors],
        "outputs": [_port_facts(tensor) for tensor in graph.output_tensors],
    }


def build_values(board: Board, prefix: str, sources: Sequence[str]) -> dict[str, Any]:
    """Return what ``setup.py`` needs to compile a package's library.

    Args:
        board: a board that runs Linux.
        prefix: name of the package.
        sources: its C files, each in a folder ``src`` beside one called ``include``.
    """
    assert board.linux is not None
    roots = dict.fromkeys(str(PurePosixPath(source).parent.parent) for source in sources)
    return {
        "machine": "" if board.linux.native else _WHEEL_MACHINES[board.linux.architecture],
        "library": library_file(prefix),
        "sources": list(sources),
        "includes": [f"{root}/{part}" for root in roots for part in ("include", "src")],
        "flags": [*FLAGS, "-march=native"],
    }


def python_files(
    prefix: str, facts: Mapping[str, Any], runtime: str, values: Mapping[str, Any]
) -> dict[str, str]:
    """Return the files that every package has, whatever executes the network.

    Args:
        prefix: name of the package.
        facts: JSON of ``network.json``; ``inputs`` and ``outputs`` among them.
        runtime: the module of `runtimes.edge` that executes it.
        values: for the templates.
    """
    return {
        f"{prefix}/__init__.py": render("edge/init.py.j2", **{**values, **facts}),
        f"{prefix}/network.py": runtime_text(f"{runtime}.py"),
        f"{prefix}/ports.py": runtime_text("ports.py"),
        f"{prefix}/network.json": json.dumps(facts, indent=2) + "\n",
        "pyproject.toml": render("edge/pyproject.toml.j2", **values),
    }


def _port_facts(tensor: Tensor) -> dict[str, Any]:
    quant = tensor.quant
    return {
        "name": tensor.name,
        "shape": list(tensor.shape),
        "dtype": tensor.dtype.numpy.name,
        "scale": float(quant.scales[0]) if quant else 0.0,
        "zero_point": int(quant.zero_points[0]) if quant else 0,
    }


def runtime_text(name: str) -> str:
    """Return a module of `runtimes.edge`, which packages carry with them."""
    return (resources.files("runtimes.edge") / name).read_text(encoding="utf-8")
