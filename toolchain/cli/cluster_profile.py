"""``tessera cluster profile``: the figures of this device and of its links, as TOML."""

from __future__ import annotations

import dataclasses
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import click

from toolchain.cli.report import Reporter, common_options

if TYPE_CHECKING:
    from toolchain.cluster.devices import Device, Link


@click.command()
@click.option("--name", default="", help="Of this device.  [host name]")
@click.option("--peer", multiple=True, metavar="HOST:PORT", help="A running worker: its link.")
@click.option("--peer-key", default="", help="Its public key.")
@click.option("--key", type=click.Path(path_type=Path), help="Own .key_secret in the key folder.")
@click.option("--threads", type=click.IntRange(1, 256), default=1, show_default=True)
@click.option(
    "--folder", type=click.Path(path_type=Path), default=Path(), help="On the disk of the shards."
)
@common_options
def command(
    reporter: Reporter,
    *,
    name: str,
    peer: tuple[str, ...],
    peer_key: str,
    key: Path | None,
    threads: int,
    folder: Path,
) -> int:
    """Measure kernels, disk and links, and print them for cluster.toml.

    Run it once on each device; on the head with --peer for every worker that is running.
    """
    from runtimes.cluster.crew import WorkerAddress
    from runtimes.cluster.keys import KeyRing
    from runtimes.cluster.profile import profile_device, profile_link

    keys = KeyRing.load(key) if key else None
    links = {address: profile_link(WorkerAddress(address, peer_key), keys) for address in peer}
    for address, link in links.items():
        reporter.note(f"link to {address}: {_link_text(link)}")
    if links:
        slowest = max(links.values(), key=lambda link: link.latency_s + 1e4 / link.bytes_per_s)
        reporter.say(f"[link]\n{_link_toml(slowest)}\n")
    device = profile_device(name or socket.gethostname(), folder, threads=threads)
    reporter.say(f"[[device]]\n{_device_toml(device)}")
    reporter.note("next: put these lines into cluster.toml, then tessera cluster plan MODEL")
    return reporter.result(
        {
            "device": dataclasses.asdict(device),
            "links": {address: dataclasses.asdict(link) for address, link in links.items()},
        }
    )


def _link_text(link: Link) -> str:
    return f"{link.latency_s * 1e3:.2f} ms, {link.bytes_per_s * 8e-6:.0f} Mbit/s"


def _link_toml(link: Link) -> str:
    return (
        f'latency = "{link.latency_s * 1e3:.3f}ms"\nbandwidth = "{link.bytes_per_s * 8e-6:.1f}Mbit"'
    )


def _device_toml(device: Device) -> str:
    return (
        f'name = "{device.name}"\n'
        f'weights = "{device.weights_per_s * 1e-9:.2f}GB/s"\n'
        f'batch = "{device.macs_per_s * 1e-9:.1f}GMAC/s"\n'
        f'disk = "{device.disk_per_s * 1e-9:.2f}GB/s"\n'
        f'block = "{device.block_s * 1e6:.0f}us"'
    )
