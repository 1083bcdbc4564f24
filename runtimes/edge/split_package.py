"""A Python package of a model in parts: one library of C, and models for an engine."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from boards import Board
from codegen.call import identifier
from codegen.edge import (
    build_values,
    compiled_facts,
    edge_library,
    library_file,
    python_files,
    runtime_text,
)
from codegen.render import render
from runtimes.edge.cut import Part
from runtimes.edge.engines import REQUIRES
from runtimes.edge.split_model import Split
from toolchain.plan import Plan

_MODULES = ("compiled.py", "onnxruntime_engine.py", "tflite_engine.py")
_SUFFIX = {"onnxruntime": ".onnx", "tflite": ".tflite"}


def split_files(
    split: Split, plans: Mapping[int, Plan], board: Board, name: str
) -> dict[str, str | bytes]:
    """Return the package: ``{path: content}``.

    Args:
        split: the model in parts.
        plans: of every part that becomes C, by the part's place.
        board: a board that runs Linux.
        name: of the package.

    Raises:
        UsageError: E140 if a plan takes its input in pieces.
    """
    prefix = identifier(name)
    files: dict[str, str | bytes] = {}
    for place, part in enumerate(split.parts):
        folder = f"{prefix}/part{place}"
        if place in plans:
            own, graph = f"{prefix}_{place}", split.graphs[place]
            library = edge_library(graph, plans[place], own)
            files |= {f"lib/{own}/{path}": text for path, text in library.items()}
            facts = compiled_facts(graph, plans[place], own, f"../{library_file(prefix)}")
        else:
            copy = f"model{_SUFFIX[split.engine]}"
            facts = {"model": copy, **_ports(split, part.inputs, part.outputs)}
            files[f"{folder}/{copy}"] = split.cut.submodel(part)
        files[f"{folder}/network.json"] = json.dumps(facts, indent=2) + "\n"
    sources = sorted(path for path in files if path.endswith(".c"))
    rows, ports = part_facts(split), _ports(split, split.cut.inputs, split.cut.outputs)
    values = {
        "p": prefix, "name": name, "board": board, "parts": True, "rows": rows, **ports,
        "requires": ["numpy>=1.22", REQUIRES[split.engine]],
        "how": f"in parts, C and {split.engine}",
        **build_values(board, prefix, sources),
    }  # fmt: skip
    return {
        **files,
        **python_files(prefix, {"parts": rows, **ports}, "split", values),
        **{f"{prefix}/{name}": runtime_text(name) for name in _MODULES},
        "setup.py": render("edge/setup.py.j2", **values),
        "README.md": render("edge/split.md.j2", **values),
        ".gitignore": "*.so\nbuild/\n*.egg-info/\n",
    }


def part_facts(split: Split) -> list[dict[str, Any]]:
    """Return what every part is, as JSON objects: who executes it, what it holds and hands on."""
    return [_facts(split, place, part) for place, part in enumerate(split.parts)]


def _facts(split: Split, place: int, part: Part) -> dict[str, Any]:
    kinds = Counter(split.cut.kinds[i] for i in part.nodes)
    named = [f"{count} {kind}" if count > 1 else kind for kind, count in kinds.most_common()]
    why: dict[str, dict[str, None]] = {}
    for i in part.nodes:
        if i in split.reasons:
            why.setdefault(split.reasons[i], {})[split.cut.kinds[i]] = None
    return {
        "by": "compiled" if part.compiled else split.engine,
        "folder": f"part{place}",
        "operators": ", ".join(named),
        "count": len(part.nodes),
        "macs": split.graphs[place].macs if place in split.graphs else 0,
        "why": [f"{reason}: {', '.join(kinds)}" for reason, kinds in why.items()],
        "reads": list(part.inputs),
        "makes": list(part.outputs),
    }


def _ports(split: Split, inputs: Sequence[str], outputs: Sequence[str]) -> dict[str, Any]:
    return {
        kind: [split.cut.port(name) for name in names]
        for kind, names in (("inputs", inputs), ("outputs", outputs))
    }
