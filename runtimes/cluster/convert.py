"""Turns a model into shards: one file per rank, and the tokenizer beside them.

`runtimes.cluster.shard_folder` shows what the folder looks like.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from runtimes.cluster.formats.base import WeightSource
from runtimes.cluster.formats.open import model_digest, open_model
from runtimes.cluster.shard_folder import ShardFolder, write_index
from runtimes.cluster.shard_writer import write_shard
from runtimes.cluster.tokenizer import save_tokenizer
from toolchain.cluster.split import Bits, Share, check_split, split
from toolchain.errors import ModelError

Progress = Callable[[int, str, int], None]


def convert(
    model: Path,
    folder: Path,
    *,
    bits: Bits,
    weights: Sequence[float] = (1.0,),
    shares: Sequence[Share] = (),
    progress: Progress = lambda _rank, _block, _bytes: None,
    warn: Callable[[str], None] = lambda _text: None,
) -> ShardFolder:
    """Cut a model into shards.

    Args:
        model: a Hugging Face folder, GGUF or llama2.c file.
        folder: where the shards go.
        bits: 4, 8 or 32.
        weights: relative speed of each device; equal numbers cut evenly.
        shares: the cut itself, instead of ``weights`` (from a plan).
        progress: called with rank, block and bytes as blocks are written.
        warn: called if there is no tokenizer: the shards compute, but nobody can chat with them.

    Returns:
        The converted model.

    Raises:
        ModelError: E201..E226, the model or its tokenizer cannot be used.
        FitError: E310, shares are not the model.
        UsageError: E111, weights are not speeds.
    """
    source = open_model(model)
    try:
        cut = tuple(shares) or split(source.config, weights)
        check_split(source.config, cut)
        _save_tokenizer(source, model, folder, warn)
        result = ShardFolder(folder, source.config, bits, cut, model_digest(model))
        for share in cut:
            write_shard(
                *(source, share, bits, result.shard(share.rank)),
                digest=result.source,
                progress=lambda block, size, rank=share.rank: progress(rank, block, size),  # type: ignore[misc]
            )
    finally:
        source.close()
    write_index(result)
    return result


def _save_tokenizer(
    source: WeightSource, model: Path, folder: Path, warn: Callable[[str], None]
) -> None:
    try:
        save_tokenizer(source, model, folder)
    except ModelError as error:
        if error.code != "E229":
            raise
        warn(f"{error.what}: these shards take token ids only")
