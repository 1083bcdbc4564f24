"""The way of a model through the house, as the verbs walk it.

The only place that ties the rooms together: import, simplify, plan, check, emit, write.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

from toolchain.cli.reading import AS_IT_IS, Reading
from toolchain.cli.report import Reporter
from toolchain.errors import UsageError

T = TypeVar("T")

if TYPE_CHECKING:
    from boards import Board
    from toolchain.ir import Graph
    from toolchain.plan import Plan
    from toolchain.plan.fit import Fit

MODEL_COPY = "model.tflite"
PLAN_FILE = "plan.json"


@dataclass(frozen=True)
class Project:
    """A compiled model: what it is made from and where it lives."""

    folder: Path
    graph: Graph
    plan: Plan
    board: Board
    name: str

    def __repr__(self) -> str:
        arena = f"{self.plan.arena_bytes:,} bytes of RAM"
        return f"Project({self.name!r} for {self.board.id} in {str(self.folder)!r}, {arena})"


def load_graph(model: Path, reporter: Reporter, reading: Reading = AS_IT_IS) -> Graph:
    """Import ``model`` as ``reading`` says; the importer's warnings go to the reporter."""
    from toolchain.importers import import_model

    return reading.apply(_warned(reporter, import_model, model), reporter)


def load_any(model: Path, reporter: Reporter) -> tuple[Graph, bool]:
    """Import ``model``; return its graph and whether it is still to be quantised."""
    from toolchain.importers import import_any

    graph, is_float = _warned(reporter, import_any, model)
    return graph if is_float else AS_IT_IS.apply(graph, reporter), is_float


def _warned(reporter: Reporter, read: Callable[[Path], T], model: Path) -> T:
    """Return what ``read`` makes of a file; its warnings go to the reporter."""
    import warnings

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = read(model)
    for warning in caught:
        reporter.warn(str(warning.message))
    return found


def plan_for(graph: Graph, board: Board) -> Plan:
    """Return the default plan of ``graph`` for ``board``, checked."""
    from toolchain.plan import check_plan, plan_model

    plan = plan_model(graph, board)
    check_plan(graph, plan, board)
    return plan


def footprint(graph: Graph, plan: Plan, board: Board) -> Fit:
    """Return what the firmware needs of the board's memory, before anything is built."""
    from codegen.estimate import estimate_flash
    from toolchain.plan.fit import fit

    return fit(graph, plan, board, flash_bytes=estimate_flash(graph, plan))


def write_model_project(
    model: Path,
    graph: Graph,
    plan: Plan,
    board: Board,
    folder: Path,
    reading: Reading = AS_IT_IS,
    extra: Mapping[str, str] = MappingProxyType({}),
) -> Project:
    """Emit the project of ``plan`` and write it to ``folder``, atomically.

    Args:
        model: the model file.
        graph: read from it.
        plan: of the graph.
        board: the target.
        folder: of the project.
        reading: how the file became the graph.
        extra: more files of the network's C library, by their path in it.
    """
    from codegen.edge import package_files
    from codegen.folder import write_project
    from codegen.project import project_files
    from toolchain.plan import plan_to_json

    data = model.read_bytes()
    name = c_name(model)
    make = package_files if board.linux else project_files
    files: dict[str, str | bytes] = dict(make(graph, plan, board, name=name))
    files |= {f"lib/{name}/{path}": text for path, text in extra.items()}
    files[MODEL_COPY] = data
    files[PLAN_FILE] = plan_to_json(plan)
    if board.definition:
        files[f"{board.id}.toml"] = board.definition
    facts = {
        "board": f"{board.id}.toml" if board.definition else board.id,
        "name": name,
        **asdict(reading),
        "model_sha256": hashlib.sha256(data).hexdigest(),
        "plan_hash": plan.hash,
    }
    write_project(files, facts, folder)
    return Project(folder, graph, plan, board, name)


def open_project(folder: Path, reporter: Reporter) -> Project:
    """Return the project in ``folder``, its model imported again and its plan checked.

    Raises:
        UsageError: E105 if it is not a project, E108 if its model or plan is not the one that it
            was made from, E141 if another runtime executes it.
    """
    from boards import load_board
    from codegen.folder import read_manifest
    from toolchain.plan import check_plan, plan_from_json

    manifest = read_manifest(folder)
    if engine := manifest.get("engine"):
        raise UsageError(
            "E141", f"{folder} is executed by {engine}", hints=[f"pip install {folder}"]
        )
    hint = "tessera compile MODEL --board BOARD -o " + str(folder)
    try:
        digest = hashlib.sha256((folder / MODEL_COPY).read_bytes()).hexdigest()
        text = (folder / PLAN_FILE).read_text(encoding="utf-8")
        board, name = str(manifest["board"]), str(manifest["name"])
    except (OSError, KeyError) as error:
        raise UsageError("E108", f"the project is not complete: {error}", hints=[hint]) from None
    if digest != manifest.get("model_sha256"):
        raise UsageError("E108", f"{MODEL_COPY} is not the compiled model", hints=[hint])
    # A user's own board lies in the project.
    target = load_board(str(folder / Path(board).name) if board.endswith(".toml") else board)
    reading = Reading(**{f.name: manifest.get(f.name) is True for f in fields(Reading)})
    graph = load_graph(folder / MODEL_COPY, reporter, reading)
    plan = plan_from_json(text)
    check_plan(graph, plan, target)
    if plan.hash != manifest.get("plan_hash"):
        raise UsageError("E108", f"{PLAN_FILE} is not the compiled plan", hints=[hint])
    return Project(folder, graph, plan, target, name)


def c_name(model: Path) -> str:
    """Return a C identifier for a model file: its name, or ``model`` where that is not one."""
    from codegen.call import identifier

    name = identifier(model.stem)
    return name if name[0].isalpha() else f"model_{name}"
