"""Options that ``chat``, ``serve`` and ``bench`` share: which model, where, sampled how."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click

from toolchain.cli.report import Reporter
from toolchain.cli.sizes import Size
from toolchain.cluster.split import KvKind
from toolchain.errors import UsageError

if TYPE_CHECKING:
    from runtimes.cluster.crew import WorkerAddress
    from runtimes.cluster.deploy import HeadOptions
    from runtimes.cluster.head import Fault
    from runtimes.cluster.launch import OpenModel
    from runtimes.cluster.sampling import Sampling
    from toolchain.cluster.config import ModelConfig

KV_CHOICE = click.Choice(get_args(KvKind))
_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class ModelOptions:
    """Where and how a model runs, as given on the command line."""

    shards: Path
    worker: tuple[str, ...]
    devices: Path | None
    context: int | None
    threads: int
    max_ram: int
    kv: str | None
    exchange: str | None
    topology: str | None
    key: Path | None
    standby: bool

    def open(self, reporter: Reporter, *, slots: int = 1) -> OpenModel:
        """Start the model.

        Args:
            reporter: told about devices that were lost.
            slots: sequences at a time.

        Raises:
            TesseraError: what `runtimes.cluster.launch.launch` raises.
        """
        from runtimes.cluster.launch import launch

        workers, options = self.resolve(slots=slots)
        return launch(self.shards, workers, options, on_fault=fault_reporter(reporter))

    def resolve(self, *, slots: int) -> tuple[list[WorkerAddress], HeadOptions]:
        """Find the devices: those named, else those of the plan beside the shards."""
        from runtimes.cluster.deploy import HeadOptions, options_of, workers_of
        from runtimes.cluster.exchange import Topology
        from runtimes.cluster.shard_folder import open_shards
        from runtimes.cluster.wire import Encoding
        from toolchain.cluster.plan import PLAN_FILE, load_plan

        if self.context is not None:
            check_context(self.context, open_shards(self.shards).config)
        workers, options = self._named(), HeadOptions()
        if (self.shards / PLAN_FILE).exists():
            plan = load_plan(self.shards / PLAN_FILE)
            workers = workers or workers_of(plan)
            options = options_of(plan) if workers else options
        given = {
            "topology": Topology(self.topology) if self.topology else None,
            "encoding": Encoding[self.exchange.upper()] if self.exchange else None,
            "capacity": self.context,
            "kv": self.kv,
            "max_ram": self.max_ram or None,
            "key": self.key,
        }
        known: Any = {name: value for name, value in given.items() if value is not None}
        options = dataclasses.replace(
            options, slots=slots, threads=self.threads, standby=self.standby, **known
        )
        return workers, options

    def _named(self) -> list[WorkerAddress]:
        """Workers on the command line or in cluster.toml."""
        from runtimes.cluster.crew import WorkerAddress

        if self.devices is None:
            return [WorkerAddress(*_host_and_key(text)) for text in self.worker]
        if self.worker:
            raise UsageError("E133", "give --worker or --devices, not both")
        from toolchain.cluster.devices import load_devices

        others = load_devices(self.devices).devices[1:]
        for device in others:
            if not device.address:
                raise UsageError("E133", f"{device.name} has no address", where=str(self.devices))
        return [WorkerAddress(device.address, device.key) for device in others]


def model_options(function: _Function) -> _Function:
    """Give a verb the SHARDS argument and options that become its ``model`` argument."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        fields = {name: kwargs.pop(name) for name in ModelOptions.__dataclass_fields__}
        return function(*args, model=ModelOptions(**fields), **kwargs)

    decorated: _Function = _decorate(
        wrapped,
        click.argument("shards", type=click.Path(path_type=Path)),
        click.option(
            "--worker", "-w", multiple=True, metavar="HOST:PORT[=KEY]", help="One per rank 1, 2 ..."
        ),
        click.option("--devices", type=click.Path(path_type=Path), help="cluster.toml instead."),
        click.option("--context", type=click.IntRange(2, 1 << 24), help="Tokens."),
        click.option("--threads", type=click.IntRange(1, 256), default=1, show_default=True),
        click.option("--max-ram", type=Size(), default=0, help="Of this device: 600M, 2G."),
        click.option("--kv", type=KV_CHOICE, help="Key/value cache.  [int8]"),
        click.option("--exchange", type=click.Choice(["int8", "f16", "f32"]), help="[int8]"),
        click.option("--topology", type=click.Choice(["mesh", "star", "doubling"]), help="[mesh]"),
        click.option("--key", type=click.Path(path_type=Path), help="The head's .key_secret."),
        click.option("--standby", is_flag=True, help="Give spares all shards at the start."),
    )
    return decorated


def sampling_options(function: _Function) -> _Function:
    """Give a verb ``--temperature`` and its kin, which become its ``sampling`` argument."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        names = ("temperature", "top_k", "top_p", "min_p", "seed")
        return function(*args, sampling=_sampling(*(kwargs.pop(name) for name in names)), **kwargs)

    decorated: _Function = _decorate(
        wrapped,
        click.option("--temperature", "-t", type=float, default=0.7, show_default=True),
        click.option("--top-k", type=int, default=0, help="Keep so many tokens; 0: all."),
        click.option("--top-p", type=float, default=0.95, show_default=True),
        click.option("--min-p", type=float, default=0.0, show_default=True),
        click.option("--seed", type=int, default=0, show_default=True),
    )
    return decorated


guesses_option = click.option(
    "--guesses",
    type=click.IntRange(0, 64),
    default=8,
    show_default=True,
    help="Guessed tokens per pass at most; they change the speed, never the text.",
)


def _decorate(function: Any, *options: Callable[[Any], Any]) -> Any:
    for option in reversed(options):
        function = option(function)
    return function


def _sampling(temperature: float, top_k: int, top_p: float, min_p: float, seed: int) -> Sampling:
    from runtimes.cluster.sampling import Sampling

    return Sampling(temperature, top_k, top_p, min_p, seed)


def check_context(tokens: int | None, config: ModelConfig) -> int | None:
    """Return a context as it is.

    Raises:
        UsageError: E150, the model was not made for so many tokens.
    """
    if tokens is not None and tokens > config.context:
        raise UsageError(
            "E150",
            f"the model was made for {config.context} tokens, not {tokens}",
            hints=[f"--context {config.context}"],
        )
    return tokens


def check_address(text: str, option: str) -> str:
    """Return ``HOST:PORT`` as it is.

    Raises:
        UsageError: E133, it is something else.
    """
    host, _, port = text.rpartition(":")
    if not (host and port.isdecimal() and len(port) < 6 and int(port) < 1 << 16):
        raise UsageError(
            "E133", f"not the address of a worker: {text!r:.60}", hints=[f"{option} 192.0.2.7:9500"]
        )
    return text


def _host_and_key(text: str) -> tuple[str, str]:
    address, _, key = text.partition("=")
    return check_address(address, "--worker"), key


def fault_reporter(reporter: Reporter) -> Callable[[Fault], None]:
    """Return a function that warns of lost workers."""

    def report(fault: Fault) -> None:
        reporter.warn(
            f"lost {', '.join(fault.lost)} ({fault.error.what}); going on after"
            f" {fault.repaired_s:.1f} s, {fault.sent_bytes} weight bytes sent again"
        )

    return report
