"""Opens what `tessera cluster convert` wrote, here or over workers, with its tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runtimes.cluster.buffers import Rows
from runtimes.cluster.engine import Engine
from runtimes.cluster.forward import Forward, LocalModel
from runtimes.cluster.open_engine import engine_opener
from runtimes.cluster.shard_folder import ShardFolder, open_shards
from runtimes.cluster.step import EngineRequest, OpenEngine
from runtimes.cluster.timing import Clock
from runtimes.cluster.tokenizer import Tokenizer, open_tokenizer
from toolchain.cluster.config import ModelConfig
from toolchain.errors import UsageError

if TYPE_CHECKING:
    from runtimes.cluster.crew import WorkerAddress
    from runtimes.cluster.deploy import HeadOptions
    from runtimes.cluster.head import Fault, Head

CONTEXT = 4096  # positions per sequence unless asked for: long contexts cost much memory


@dataclass
class OpenModel:
    """A model that runs; a context manager.

    Attributes:
        name: for people and for ``/v1/models``.
        model: what generates.
        tokenizer: of the model.
    """

    name: str
    model: Forward
    tokenizer: Tokenizer

    @property
    def losses(self) -> int:
        """Workers lost and replaced so far."""
        return len(self.model.head.faults) if isinstance(self.model, ClusterModel) else 0

    def __enter__(self) -> OpenModel:
        return self

    def __exit__(self, *_: object) -> None:
        self.model.close()


class ClusterModel:
    """A head as a `runtimes.cluster.forward.Forward`.

    Args:
        head: closed with the model.
    """

    def __init__(self, head: Head) -> None:
        self.head = head
        self.config: ModelConfig = head.config
        self.slots = head.deployment.slots
        self.capacity = head.deployment.capacity

    def forward(
        self, slot: int, tokens: Sequence[int], position: int, *, rows: int | None = None
    ) -> Rows:
        """Run tokens through the cluster; see `Forward.forward`."""
        return self.head.forward(slot, tokens, position, rows=rows)

    def truncate(self, slot: int, length: int) -> None:
        """Forget later positions; see `Forward.truncate`."""
        self.head.truncate(slot, length)

    def close(self) -> None:
        """Tell the workers that the session is over."""
        self.head.close()


def launch(
    shards: Path,
    workers: Sequence[WorkerAddress],
    options: HeadOptions,
    *,
    on_fault: Callable[[Fault], None] | None = None,
) -> OpenModel:
    """Open a model and its tokenizer.

    Args:
        shards: a folder of shards.
        workers: of ranks 1, 2 ...; none: all ranks run in this process.
        options: how to run it.
        on_fault: told about every loss of a worker after its repair.

    Raises:
        ModelError: E226 no tokenizer, E228 not a folder of shards.
        UsageError: E132, a memory limit for several ranks in one process.
        DeviceError, FitError: see `runtimes.cluster.head.Head`.
    """
    folder, tokenizer = open_shards(shards), open_tokenizer(shards)
    model = open_forward(folder, workers, options, on_fault=on_fault)
    return OpenModel(shards.resolve().name, model, tokenizer)


def open_forward(
    folder: ShardFolder,
    workers: Sequence[WorkerAddress],
    options: HeadOptions,
    *,
    on_fault: Callable[[Fault], None] | None = None,
    clock: Clock | None = None,
) -> LocalModel | ClusterModel:
    """Open a model without its tokenizer; see `launch`.

    Args:
        folder: of shards.
        workers: as for `launch`.
        options: as for `launch`.
        on_fault: as for `launch`.
        clock: takes the time of this device's engines.
    """
    opener = engine_opener(options.threads)
    if clock is not None:
        opener = clock.opener(opener)
    if not workers:
        return _open_local(folder, options, opener)
    from runtimes.cluster.deploy import open_head

    return ClusterModel(open_head(folder.path, workers, options, on_fault, opener=opener))


def _open_local(folder: ShardFolder, options: HeadOptions, opener: OpenEngine) -> LocalModel:
    if options.max_ram and len(folder.shares) > 1:
        raise UsageError(
            "E132",
            f"--max-ram is for one device, these shards are cut for {len(folder.shares)}",
            hints=[
                "name the other devices: --worker HOST:PORT, or --devices cluster.toml",
                "tessera cluster convert MODEL -o SHARDS --devices 1",
            ],
        )
    request = EngineRequest(
        slots=options.slots,
        capacity=options.capacity or min(folder.config.context, CONTEXT),
        reproducible=False,
        kv=options.kv,
        max_ram=options.max_ram,
    )
    engines: list[Engine] = []
    try:
        for share in folder.shares:
            engines.append(opener(folder.shard(share.rank), request))
    except BaseException:
        for engine in engines:
            engine.close()
        raise
    return LocalModel(engines)
