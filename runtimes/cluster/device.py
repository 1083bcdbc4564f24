"""The process of a worker: ``python -m runtimes.cluster.device SETTINGS``.

``tessera cluster worker`` reads the command line, then becomes this process, which loads nothing
that computing does not need: what a parser of command lines occupies is better spent on weights.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from runtimes.cluster.keys import KeyRing
from runtimes.cluster.opener import EngineOpener
from runtimes.cluster.usage import be_frugal
from runtimes.cluster.worker import Worker, WorkerOptions
from toolchain.errors import TesseraError


@dataclass(frozen=True)
class Settings:
    """What the command line said.

    Attributes:
        listen: ``host:port``.
        cache: folder of shards.
        name: for messages.
        max_ram: bytes this device grants, 0 for no limit.
        key: path of the own secret key; empty for an open port.
        threads: of the kernels.
        json: report errors as JSON.
        quiet: say nothing at the end.
    """

    listen: str
    cache: str
    name: str
    max_ram: int
    key: str
    threads: int
    json: bool
    quiet: bool

    def command(self) -> list[str]:
        """Return program and arguments of the process that follows these settings."""
        module = f"{__package__}.{Path(__file__).stem}"
        return [sys.executable, "-m", module, json.dumps(asdict(self))]


def serve(settings: Settings) -> None:
    """Work until interrupted.

    Raises:
        DeviceError: E526, the address cannot be listened on.
        ToolError: E601, E602 this device has neither a C compiler nor numpy.
        UsageError: E14x, the key cannot be used.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", force=True)
    keys = KeyRing.load(Path(settings.key)) if settings.key else None
    options = WorkerOptions(
        settings.listen, Path(settings.cache), settings.name, settings.max_ram, keys
    )
    opener = EngineOpener(threads=settings.threads)
    opener.prepare()
    worker = Worker(options, opener)
    be_frugal()
    signal.signal(signal.SIGTERM, _interrupt)
    print(f"listening on {worker.address}", flush=True)
    try:
        worker.serve()
    except KeyboardInterrupt:
        if not (settings.json or settings.quiet):
            print("worker ends", file=sys.stderr)
    finally:
        worker.close()


def main(arguments: Sequence[str]) -> int:
    """Run the worker of ``arguments``, one JSON object; returns the exit code."""
    settings = Settings(**json.loads(arguments[0]))
    try:
        serve(settings)
    except TesseraError as error:
        from toolchain.cli.report import Reporter

        return Reporter(json=settings.json, command="cluster worker").failure(error)
    return 0


def _interrupt(number: int, frame: object) -> None:
    del number, frame
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
