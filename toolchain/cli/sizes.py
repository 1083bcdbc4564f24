"""Sizes as people type and read them."""

from __future__ import annotations

import re

import click

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


class Size(click.ParamType[int]):
    """Bytes: ``600M``, ``1.5G``, ``2GiB``, ``123456``; units are powers of 1024."""

    name = "size"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Return bytes."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]?)(?:i?B)?", str(value).strip(), re.I)
        if match is None:
            self.fail(f"not a size: {value!r:.40} (600M, 1.5G, ...)", param, ctx)
        return int(float(match[1]) * _UNITS[match[2].upper()])


def human(size: float) -> str:
    """Bytes for people: ``512 MB`` (binary), ``1.5 GB``."""
    return f"{size / 2**30:.2f} GB" if size >= 1 << 30 else f"{size / 2**20:.1f} MB"
