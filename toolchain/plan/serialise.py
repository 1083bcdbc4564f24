"""``plan.json``: a plan as text, and back. A file is hostile until every field has been checked."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from toolchain.errors import UsageError
from toolchain.files import write_whole
from toolchain.plan.plan import LayerStage, Plan, StreamStage

SCHEMA_VERSION = 1
_MAX_BYTES = 64 * 2**20
_LARGEST = 2**53  # exact in every reader of JSON
# Members of a union carry their tag as "kind".
_TAGS: Mapping[type, str] = {LayerStage: "layer", StreamStage: "stream"}


def plan_to_json(plan: Plan) -> str:
    """Return ``plan`` as JSON text, the same for equal plans."""
    values = {"schema_version": SCHEMA_VERSION, "plan_hash": plan.hash, **_encode(plan)}
    return json.dumps(values, indent=1) + "\n"


def plan_from_json(text: str, where: str = "plan.json") -> Plan:
    """Return the plan that JSON ``text`` describes; its form is checked, its sense is not.

    Args:
        text: what `plan_to_json` wrote, maybe edited by hand; ``plan_hash`` is not read.
        where: the file, for messages.

    Raises:
        UsageError: E120 with the key that is missing, unknown or of a wrong type.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError("E120", f"not legal JSON: {error}", where=where) from None
    try:
        if not isinstance(values, dict):
            raise _FormError("a plan is a JSON object")
        if (version := values.pop("schema_version", None)) != SCHEMA_VERSION:
            raise _FormError(f"schema_version is {version!r}, not {SCHEMA_VERSION}")
        values.pop("plan_hash", None)
        plan = _decode(Plan, values, "")
    except _FormError as error:
        raise UsageError("E120", str(error), where=where) from None
    assert isinstance(plan, Plan)
    return plan


def write_plan(plan: Plan, path: Path) -> None:
    """Write ``plan`` to ``path``; nobody ever sees half a file."""
    write_whole(path, plan_to_json(plan).encode())


def read_plan(path: Path) -> Plan:
    """Read a plan.

    Raises:
        UsageError: E120 if the file cannot be read or is not a plan.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise UsageError("E120", "this file is too large for a plan", where=str(path))
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("E120", f"cannot read the plan: {error}", where=str(path)) from None
    return plan_from_json(text, str(path))


class _FormError(Exception):
    """A value does not have the form that the plan's dataclasses declare."""


def _encode(value: Any) -> Any:
    if is_dataclass(value):
        tag = {"kind": _TAGS[type(value)]} if type(value) in _TAGS else {}
        return {**tag, **{f.name: _encode(getattr(value, f.name)) for f in fields(value)}}
    return [_encode(item) for item in value] if isinstance(value, tuple) else value


def _decode(form: Any, value: Any, path: str) -> Any:
    """Return ``value`` as the type ``form``: a dataclass, a union of them, tuple, int or str."""
    if get_origin(form) is tuple:
        if not isinstance(value, list):
            raise _FormError(f"{path} must be a list")
        item = get_args(form)[0]
        return tuple(_decode(item, entry, f"{path}[{i}]") for i, entry in enumerate(value))
    if form in (int, str):
        if type(value) is not form:
            raise _FormError(f"{path} must be {'an integer' if form is int else 'a string'}")
        if form is int and abs(value) > _LARGEST:
            raise _FormError(f"{path} is too large")
        return value
    if not isinstance(value, dict):
        raise _FormError(f"{path} must be an object")
    members = get_args(form) or (form,)
    if members[0] in _TAGS:
        form, value = _member(members, value, path)
    return _object(form, value, path)


def _member(members: tuple[Any, ...], value: dict[str, Any], path: str) -> tuple[Any, Any]:
    kinds = {_TAGS[member]: member for member in members}
    rest = {key: entry for key, entry in value.items() if key != "kind"}
    if not isinstance(value.get("kind"), str) or value["kind"] not in kinds:
        raise _FormError(f"{path}.kind must be one of {', '.join(kinds)}")
    return kinds[value["kind"]], rest


def _object(form: Any, value: dict[str, Any], path: str) -> Any:
    hints = {f.name: get_type_hints(form)[f.name] for f in fields(form)}
    prefix = f"{path}." if path else ""
    for key in value:
        if key not in hints:
            near = difflib.get_close_matches(key, hints, n=1)
            also = f". Did you mean {prefix}{near[0]}?" if near else ""
            raise _FormError(f"unknown key {prefix}{key}{also}")
    for key in hints:
        if key not in value:
            raise _FormError(f"missing key {prefix}{key}")
    return form(**{key: _decode(hint, value[key], prefix + key) for key, hint in hints.items()})
