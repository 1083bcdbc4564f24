"""The relay process: a JSON description on stdin, the routes as JSON on stdout, then commands.

Input line: ``{"link": "1ms,100Mbit", "targets": ["", "127.0.0.1:4000", ...], "seed": 0}``; output
line: ``[[sender, receiver, "host:port"], ...]``. Afterwards each byte on stdin unplugs a device;
the end of stdin ends the relay.
"""

import json
import os
import sys

from runtimes.cluster.emulate.link import LinkSpec
from runtimes.cluster.emulate.relay import Relay


def _line(descriptor: int) -> bytes:
    """Read up to a newline and no byte further: what follows are commands."""
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(descriptor, 1)):
        line += byte
    return line


def main() -> None:
    """Run a relay until stdin ends."""
    order = json.loads(_line(sys.stdin.fileno()))
    targets = {device: target for device, target in enumerate(order["targets"]) if target}
    relay = Relay(LinkSpec.parse(order["link"]), targets, order["seed"])
    devices = range(len(order["targets"]))
    routes = [(a, b, relay.listen(a, b)) for b in targets for a in devices if a != b]
    print(json.dumps(routes), flush=True)
    try:
        relay.serve(sys.stdin.fileno())
    finally:
        relay.close()


if __name__ == "__main__":
    main()
