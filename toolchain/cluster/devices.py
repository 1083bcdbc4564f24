"""The devices of a cluster and their links, as measured: ``cluster.toml``.

::

    [link]                         # between any two devices
    latency = "1ms"                # one way
    bandwidth = "100Mbit"          # of each port and direction
    medium = "switched"            # or "shared": Wi-Fi, where one device sends at a time
    overhead = "0.15ms"            # software, per exchange

    [[device]]                     # the first one is the head
    name = "laptop"
    address = ""                   # of a worker: "192.0.2.7:9500"
    key = ""                       # public CURVE key
    ram = "2G"                     # cap; absent: no limit
    weights = "9.4GB/s"            # 4-bit weights that go through the kernels
    batch = "40GMAC/s"             # multiplications of a prompt
    disk = "1GB/s"
    block = "60us"                 # per block, whatever its size

``tessera cluster profile`` prints these figures.
"""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from toolchain.errors import UsageError

Medium = Literal["switched", "shared"]
MAX_DEVICES = 256

_NUMBER = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z/]*)")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_LINK = {"kbit": 125.0, "mbit": 125e3, "gbit": 125e6}
_RATE = {"mb/s": 1e6, "gb/s": 1e9}
_MACS = {"mmac/s": 1e6, "gmac/s": 1e9}
_SIZE = {"": 1.0, "k": 2.0**10, "m": 2.0**20, "g": 2.0**30}


@dataclass(frozen=True)
class Link:
    """A link between any two devices.

    Attributes:
        latency_s: one way.
        bytes_per_s: of each port and direction (of the air, if shared).
        medium: whether devices can send at the same time.
        overhead_s: of the software, per exchange.
    """

    latency_s: float = 0.5e-3
    bytes_per_s: float = 125e6
    medium: Medium = "switched"
    overhead_s: float = 0.15e-3


@dataclass(frozen=True)
class Device:
    """One device.

    Attributes:
        name: for people.
        address: ``host:port`` of its worker; empty for the head.
        key: its public CURVE key, or empty.
        ram: bytes it grants, 0 for no limit.
        weights_per_s: bytes of weights through the kernels, one token at a time.
        macs_per_s: multiply-accumulates of a batch of positions.
        disk_per_s: bytes.
        block_s: per block, whatever its size.
    """

    name: str
    address: str = ""
    key: str = ""
    ram: int = 0
    weights_per_s: float = 9e9
    macs_per_s: float = 40e9
    disk_per_s: float = 1e9
    block_s: float = 60e-6


@dataclass(frozen=True)
class Devices:
    """A cluster; the first device is the head."""

    link: Link
    devices: tuple[Device, ...]


def load_devices(path: Path) -> Devices:
    """Read ``cluster.toml``.

    Raises:
        UsageError: E146, no such file, not TOML, a key unknown or a value without its unit.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            "E146",
            f"cannot read {path}: {error.strerror}",
            hints=["tessera cluster profile   (prints the figures of a device)"],
        ) from None
    except ValueError as error:
        raise UsageError("E146", f"not TOML: {error}", where=str(path)) from None
    try:
        return parse_devices(values)
    except UsageError as error:
        raise UsageError(error.code, error.what, where=str(path), hints=error.hints) from None


def parse_devices(values: Mapping[str, Any]) -> Devices:
    """Check and convert what TOML gave; see `load_devices`."""
    _known(values, ("link", "device"), "cluster.toml")
    table, entries = values.get("link", {}), values.get("device", [])
    if not isinstance(table, dict) or not isinstance(entries, list) or not entries:
        raise UsageError("E146", "a cluster needs [[device]] tables, the head first")
    if len(entries) > MAX_DEVICES or not all(isinstance(entry, dict) for entry in entries):
        raise UsageError("E146", f"a cluster has 1 to {MAX_DEVICES} [[device]] tables")
    return Devices(_link(table), tuple(_device(i, entry) for i, entry in enumerate(entries)))


def _link(table: Mapping[str, Any]) -> Link:
    _known(table, ("latency", "bandwidth", "medium", "overhead"), "[link]")
    default = Link()
    medium = table.get("medium", "switched")
    if medium not in get_args(Medium):
        raise UsageError("E146", f"medium is switched or shared, not {medium!r:.40}")
    return Link(
        latency_s=_quantity(table, "latency", _SECONDS, default.latency_s),
        bytes_per_s=_quantity(table, "bandwidth", _LINK, default.bytes_per_s),
        medium=medium,
        overhead_s=_quantity(table, "overhead", _SECONDS, default.overhead_s),
    )


def _device(number: int, table: Mapping[str, Any]) -> Device:
    names = ("name", "address", "key", "ram", "weights", "batch", "disk", "block")
    _known(table, names, "[[device]]")
    default = Device("")
    texts = {key: table.get(key, "") for key in ("name", "address", "key")}
    for key, text in texts.items():
        if not isinstance(text, str) or len(text) > 256:
            raise UsageError("E146", f"{key} of a device is a short text, not {text!r:.40}")
    return Device(
        name=texts["name"] or f"device {number}",
        address=texts["address"],
        key=texts["key"],
        ram=int(_quantity(table, "ram", _SIZE, 0.0)),
        weights_per_s=_quantity(table, "weights", _RATE, default.weights_per_s),
        macs_per_s=_quantity(table, "batch", _MACS, default.macs_per_s),
        disk_per_s=_quantity(table, "disk", _RATE, default.disk_per_s),
        block_s=_quantity(table, "block", _SECONDS, default.block_s),
    )


def _known(table: Mapping[str, Any], names: tuple[str, ...], where: str) -> None:
    for key in table:
        if key not in names:
            near = difflib.get_close_matches(key, names, n=1)
            hint = f". Did you mean {near[0]}?" if near else f" (known: {', '.join(names)})"
            raise UsageError("E146", f"unknown key {key!r:.40} in {where}{hint}")


def _quantity(
    table: Mapping[str, Any], key: str, units: Mapping[str, float], default: float
) -> float:
    if key not in table:
        return default
    match = _NUMBER.fullmatch(str(table[key]).strip())
    if match is None or match[2].lower() not in units or len(match[1]) > 20:
        known = ", ".join(unit for unit in units if unit)
        raise UsageError("E146", f"{key} = {table[key]!r:.40}: a number with a unit of {known}")
    value = float(match[1]) * units[match[2].lower()]
    if not math.isfinite(value) or (value <= 0 and key not in ("overhead", "block", "latency")):
        raise UsageError("E146", f"{key} must be positive")
    return value
