"""A converted model: a folder with one shard per rank, and the tokenizer beside them.

The folder::

    cluster.json                 model, bits, shares, digest: what `plan` and `chat` read first
    0-of-4.shard ... 3-of-4.shard
    tokenizer.json | vocabulary.json, chat.json
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtimes.cluster.sparse_shard import write_sparse_shard
from toolchain.cluster.config import ModelConfig
from toolchain.cluster.split import Bits, Share, check_split, split
from toolchain.errors import ModelError, TesseraError


@dataclass(frozen=True)
class ShardFolder:
    """A converted model.

    Attributes:
        path: the folder.
        config: the model.
        bits: of a weight.
        shares: by rank.
        source: SHA-256 that names the model.
    """

    path: Path
    config: ModelConfig
    bits: Bits
    shares: tuple[Share, ...]
    source: str

    def shard(self, rank: int) -> Path:
        """Return the path of one rank's shard."""
        return self.path / f"{rank}-of-{len(self.shares)}.shard"


def open_shards(folder: Path) -> ShardFolder:
    """Read what `convert` wrote, checked as hostile input.

    Raises:
        ModelError: E228, the folder is not a converted model or was damaged.
    """
    index = folder / "cluster.json"
    try:
        values: dict[str, Any] = json.loads(index.read_bytes())
        config = ModelConfig.from_dict(values["model"])
        shares = tuple(Share.from_dict(share) for share in values["shares"])
        check_split(config, shares)
        if values["bits"] not in (4, 8, 32):
            raise ValueError(f"bits {values['bits']!r:.20}")
        return ShardFolder(folder, config, values["bits"], shares, str(values["source"]))
    except OSError as error:
        raise ModelError(
            "E228",
            "not a folder of shards",
            where=str(folder),
            hints=[f"tessera cluster convert MODEL -o {folder}"],
        ) from error
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ModelError("E228", f"damaged: {error!r:.80}", where=str(index)) from error
    except TesseraError as error:
        raise ModelError("E228", f"damaged: {error.what}", where=str(index)) from error


def write_index(result: ShardFolder) -> None:
    """Write ``cluster.json`` of a folder whose shards are there."""
    values = {
        "model": result.config.as_dict(),
        "bits": result.bits,
        "shares": [share.as_dict() for share in result.shares],
        "source": result.source,
    }
    fresh = result.path / ".cluster.json.new"
    fresh.write_text(json.dumps(values, indent=1))
    fresh.replace(result.path / "cluster.json")


def write_sparse_shards(
    folder: Path, config: ModelConfig, weights: Sequence[float], bits: Bits
) -> ShardFolder:
    """Write shards of zero weights as files of holes: as large and as fast as any, no disk.

    Args:
        folder: where the shards go.
        config: the model.
        weights: relative speed of each device.
        bits: 4, 8 or 32.

    Raises:
        UsageError: E111, weights are not speeds.
    """
    result = ShardFolder(folder, config, bits, split(config, weights), "0" * 64)
    for share in result.shares:
        path = result.shard(share.rank)
        write_sparse_shard(config, share, bits, path, digest=result.source)
    write_index(result)
    return result
