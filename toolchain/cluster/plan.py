"""The cluster plan: who holds what, what streams, who sends to whom, and how fast that will be.

A plan is a JSON value: printable, diffable, editable, checked on load by `toolchain.cluster.check`
which knows nothing of how it was made. `toolchain.cluster.planner` makes plans.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

from toolchain.cluster.config import ModelConfig
from toolchain.cluster.devices import Device, Link
from toolchain.cluster.predict import (
    TOPOLOGIES,
    Payload,
    Prediction,
    Topology,
)
from toolchain.cluster.residency import Residency
from toolchain.cluster.split import Bits, KvKind, Share
from toolchain.errors import TesseraError, UsageError

SCHEMA = 1
PLAN_FILE = "plan.json"  # beside the shards
_MAX_BYTES = 64 << 20
_MOST = 1 << 60  # of any number
_TYPES: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,)}
_Value = TypeVar("_Value", Link, Device, Prediction, "PlanOptions", "Alternative")


@dataclass(frozen=True)
class PlanOptions:
    """What a user asks of a plan.

    Attributes:
        bits: of a weight.
        payload: encoding of partial sums on the wire.
        kv: type of the key/value cache.
        context: positions per sequence.
        slots: sequences at a time.
        prompt: tokens of the prompt that the prediction is for.
        count: exactly so many devices; 0 for the fastest number.
    """

    bits: Bits = 4
    payload: Payload = "int8"
    kv: KvKind = "int8"
    context: int = 2048
    slots: int = 1
    prompt: int = 28
    count: int = 0


@dataclass(frozen=True)
class DevicePlan:
    """One device's part.

    Attributes:
        device: as measured.
        share: what it holds.
        fixed_bytes: process, norms, key/value cache and buffers.
        residency: which blocks stay, which stream.
    """

    device: Device
    share: Share
    fixed_bytes: int
    residency: Residency

    @property
    def bytes(self) -> int:
        """RAM in all."""
        return self.fixed_bytes + self.residency.bytes


@dataclass(frozen=True)
class Alternative:
    """A plan that was weighed: how many devices, and how fast."""

    devices: int
    topology: Topology
    token_s: float
    first_token_s: float


@dataclass(frozen=True)
class ClusterPlan:
    """Everything that is decided before a cluster starts; see the module.

    Attributes:
        config: the model.
        options: what was asked.
        topology: of the exchange.
        link: between any two devices.
        ranks: one per rank; rank 0 is the head.
        spares: devices that compute nothing until one is lost.
        prediction: of this plan.
        alternatives: best plan of each number of devices, this one among them.
        advice: one sentence.
    """

    config: ModelConfig
    options: PlanOptions
    topology: Topology
    link: Link
    ranks: tuple[DevicePlan, ...]
    spares: tuple[Device, ...]
    prediction: Prediction
    alternatives: tuple[Alternative, ...]
    advice: str

    def to_json(self) -> str:
        """Return the plan as indented JSON; `from_json` is the inverse."""
        body = {"schema": SCHEMA, **dataclasses.asdict(self)}
        return json.dumps(body, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> ClusterPlan:
        """Read a plan as hostile input; `toolchain.cluster.check.check_plan` proves it.

        Raises:
            UsageError: E147, not a plan.
        """
        try:
            values = json.loads(text)
            if values.pop("schema") != SCHEMA:
                raise ValueError("another schema")
            topology = values["topology"]
            if topology not in TOPOLOGIES or values["options"]["payload"] not in get_args(Payload):
                raise ValueError(f"topology {topology!r:.20} or payload unknown")
            return cls(
                config=ModelConfig.from_dict(values["config"]),
                options=_options_from(values["options"]),
                topology=topology,
                link=_strict(Link, values["link"]),
                ranks=tuple(_rank_from(rank) for rank in values["ranks"]),
                spares=tuple(_strict(Device, device) for device in values["spares"]),
                prediction=_strict(Prediction, values["prediction"]),
                alternatives=tuple(_strict(Alternative, o) for o in values["alternatives"]),
                advice=str(values["advice"]),
            )
        except TesseraError as error:
            raise UsageError("E147", f"not a cluster plan: {error.what}") from None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise UsageError("E147", f"not a cluster plan: {error!r:.120}") from None


def load_plan(path: Path) -> ClusterPlan:
    """Read a plan file.

    Raises:
        UsageError: E147, no such file, or not a plan.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise UsageError("E147", "not a cluster plan: too large", where=str(path))
        return ClusterPlan.from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            "E147",
            f"cannot read the plan: {error}",
            where=str(path),
            hints=[f"tessera cluster plan MODEL -o {path}"],
        ) from None


def _options_from(values: Mapping[str, Any]) -> PlanOptions:
    options = _strict(PlanOptions, values)
    if options.bits not in get_args(Bits) or options.kv not in get_args(KvKind):
        raise ValueError(
            f"weights of {options.bits!r:.20} bits or cache {options.kv!r:.20} unknown"
        )
    return options


def _strict(kind: type[_Value], values: Mapping[str, Any]) -> _Value:
    """Make a flat value of JSON whose numbers must be finite and its texts texts."""
    for field in dataclasses.fields(kind):
        value, types = values.get(field.name, field.default), _TYPES.get(str(field.type))
        if types is None or value is dataclasses.MISSING:
            continue
        if isinstance(value, bool) or not isinstance(value, types):
            raise ValueError(f"{field.name} {value!r:.20} is not of type {field.type}")
        if isinstance(value, int | float) and not 0 <= value < _MOST:
            raise ValueError(f"{field.name} {value!r:.20} is out of range")
    return kind(**values)


def _rank_from(values: Mapping[str, Any]) -> DevicePlan:
    residency = values["residency"]
    share = {
        name: [part["start"], part["stop"]] if isinstance(part, dict) else part
        for name, part in values["share"].items()
    }
    return DevicePlan(
        device=_strict(Device, values["device"]),
        share=Share.from_dict(share),
        fixed_bytes=int(values["fixed_bytes"]),
        residency=Residency(
            streamed=tuple(map(int, residency["streamed"])),
            slots=tuple(map(int, residency["slots"])),
            pinned_bytes=int(residency["pinned_bytes"]),
            streamed_bytes=int(residency["streamed_bytes"]),
        ),
    )
