"""``tessera cluster keygen``: a CURVE key pair for a device."""

from __future__ import annotations

from pathlib import Path

import click

from toolchain.cli.report import Reporter, common_options


@click.command()
@click.argument("name")
@click.option(
    "--output",
    "-o",
    "folder",
    type=click.Path(path_type=Path),
    default=Path("keys"),
    show_default=True,
    help="Key folder.",
)
@common_options
def command(reporter: Reporter, name: str, folder: Path) -> int:
    """Make the keys of device NAME.

    Copy NAME.key to the key folder of every other device; NAME.key_secret stays here. Devices
    whose keys are not in the folder are refused.
    """
    from runtimes.cluster.keys import generate

    public, secret = generate(name, folder)
    key = public.read_text().strip()
    reporter.say(f"public  {public}   copy it to the key folder of every device of the cluster")
    reporter.say(f"secret  {secret}   stays on this device")
    reporter.say(f'cluster.toml: key = "{key}"')
    reporter.say(f"next: tessera cluster worker --listen ADDRESS:9500 --key {secret}")
    return reporter.result({"public": str(public), "secret": str(secret), "key": key})
