"""``tessera ops``: which operators are supported, and by which kernels."""

from __future__ import annotations

import difflib
import inspect

import click

from toolchain.cli.report import Reporter, common_options
from toolchain.cli.table import print_table


@click.command()
@click.option("--like", metavar="NAME", help="Only operators with a similar name.")
@common_options
def command(reporter: Reporter, like: str | None) -> int:
    """List the supported operators."""
    import toolchain.ops
    from toolchain.ops import Op

    members = (getattr(toolchain.ops, name) for name in toolchain.ops.__all__)
    found = {
        m.name: (inspect.getdoc(inspect.getmodule(m)) or "").splitlines()[0]
        for m in members
        if isinstance(m, type) and issubclass(m, Op) and m is not Op
    }
    if like:
        near = difflib.get_close_matches(like.lower(), found, n=8, cutoff=0.3)
        found = {name: found[name] for name in near}
    print_table(reporter, ("operator", "meaning"), sorted(found.items()))
    return reporter.result({"operators": sorted(found)})
