"""Shard files: one rank's weights in kernel layout, in the order in which a token needs them.

Layout::

    "TESSERA1"  8 bytes
    length      8 bytes, little-endian: bytes of the JSON header
    digest     32 bytes, SHA-256 of the JSON header
    header      JSON: format, model, share, bits, source, blocks [{name, offset, bytes, sha256}]
    blocks      each page-aligned and padded to whole pages, one after another:
                resident, layers.0.attention, layers.0.feed_forward, ..., classifier[, embedding]

``attention`` holds the tiles of q, k, v and o, ``feed_forward`` those of gate, up and down, each
matrix padded to whole tiles. ``resident`` holds all norms and biases as float32 (`resident_order`),
and how large the channels of keys and values are (`runtimes.cluster.channels`).
``embedding`` (rank 0 only) holds plain rows, float32 for 32-bit shards and fp16 otherwise: rows
are read one by one when a token needs them, never the whole.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from runtimes.cluster.ownership import own_columns, own_rows
from toolchain.cluster.config import ModelConfig
from toolchain.cluster.split import (
    PAGE,
    Bits,
    BlockBytes,
    Share,
    block_bytes,
    check_share,
    matrix_bytes,
)
from toolchain.errors import ModelError, TesseraError

MAGIC = b"TESSERA1"
HEADER_START = 48  # where the JSON begins
FORMAT = 2
MAX_HEADER = 1 << 24
# The matrices of each streamed block, in the order of the file.
MATRICES = {
    "attention": ("q", "k", "v", "o"),
    "feed_forward": ("gate", "up", "down"),
    "classifier": ("classifier",),
}


@dataclass(frozen=True)
class BlockEntry:
    """One block of a shard file: where it lies and what its bytes hash to."""

    name: str
    offset: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class ShardHeader:
    """The JSON header of a shard.

    Attributes:
        config: the model.
        share: what this rank holds.
        bits: of a weight.
        source: SHA-256 that names the model file; equal for all shards of one conversion.
        blocks: in file order.
    """

    config: ModelConfig
    share: Share
    bits: Bits
    source: str
    blocks: tuple[BlockEntry, ...]

    def to_bytes(self) -> bytes:
        """Return the start of a shard file: magic, length, digest, header.

        Raises:
            ModelError: E224, the header is longer than the space for it.
        """
        text = self.to_json()
        if HEADER_START + len(text) > self.blocks[0].offset:
            raise ModelError("E224", f"a shard header of {len(text)} bytes is too long")
        return MAGIC + len(text).to_bytes(8, "little") + hashlib.sha256(text).digest() + text

    def to_json(self) -> bytes:
        """Return the header as it stands in the file."""
        body = {
            "format": FORMAT,
            "model": self.config.as_dict(),
            "share": self.share.as_dict(),
            "bits": self.bits,
            "source": self.source,
            "blocks": [vars(block) for block in self.blocks],
        }
        return json.dumps(body, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, text: bytes) -> ShardHeader:
        """Read a header as hostile input: sizes and offsets must follow from the model.

        Raises:
            ModelError: E224, not a header, or not the one this model and share would have.
        """
        try:
            values = _values_of(text)
            config = ModelConfig.from_dict(values["model"])
            share = Share.from_dict(values["share"])
            digests = [str(block["sha256"]) for block in values["blocks"]]
            header = layout(config, share, values["bits"], str(values["source"]), digests)
            same = json.loads(header.to_json())["blocks"] == values["blocks"]
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise ModelError("E224", f"the shard's header is damaged: {error!r:.80}") from error
        except _OtherFormatError:
            raise
        except TesseraError as error:
            raise ModelError("E224", f"the shard's header is damaged: {error.what}") from error
        if not same:
            raise ModelError("E224", "the shard's blocks are not those of its model and share")
        return header


class _OtherFormatError(ModelError):
    """The header is whole, but of another version."""


def _values_of(text: bytes) -> dict[str, Any]:
    """Parse a header of this version."""
    values: dict[str, Any] = json.loads(text)
    if values["format"] != FORMAT:
        raise _OtherFormatError(
            "E224", f"the shard has format {values['format']!r:.20}, this version reads {FORMAT}"
        )
    return values


def layout(
    config: ModelConfig, share: Share, bits: Bits, source: str, digests: list[str]
) -> ShardHeader:
    """Place the blocks of a rank's shard.

    Args:
        config: the model.
        share: the rank.
        bits: of a weight.
        source: digest of the model.
        digests: SHA-256 of each block in order; empty strings if not yet known.

    Raises:
        ModelError: E224, bits or the number of digests cannot be.
    """
    if bits not in (4, 8, 32):
        raise ModelError("E224", f"weights of {bits!r:.20} bits are not supported (4, 8, 32)")
    check_share(config, share)
    sizes = list(block_sizes(config, share, block_bytes(config, share, bits)))
    if len(digests) != len(sizes):
        raise ModelError("E224", f"a shard of {len(sizes)} blocks has {len(digests)} digests")
    blocks, offset = [], _data_start(len(sizes))
    for (name, size), digest in zip(sizes, digests, strict=True):
        blocks.append(BlockEntry(name, offset, size, digest))
        offset += size
    return ShardHeader(config, share, bits, source, tuple(blocks))


def block_sizes(config: ModelConfig, share: Share, sizes: BlockBytes) -> Iterator[tuple[str, int]]:
    """Names and bytes of a shard's blocks in the order in which a token needs them."""
    yield "resident", sizes.resident
    for layer in range(config.layers):
        yield f"layers.{layer}.attention", sizes.attention
        yield f"layers.{layer}.feed_forward", sizes.feed_forward
    yield "classifier", sizes.logits
    if share.rank == 0:
        yield "embedding", sizes.embedding


def resident_order(config: ModelConfig) -> Iterator[str]:
    """Canonical names of the tensors of the ``resident`` block, in order."""
    names = ["attention_norm", "feed_forward_norm"]
    if config.post_norms:
        names += ["attention_post_norm", "feed_forward_post_norm"]
    if config.qk_norm:
        names += ["q_norm", "k_norm"]
    if config.qkv_bias:
        names += ["q_bias", "k_bias", "v_bias"]
    names += ["k_magnitude", "v_magnitude"]
    for layer in range(config.layers):
        yield from (f"layers.{layer}.{name}" for name in names)
    yield "final_norm"


def embedding_item(bits: Bits) -> int:
    """Bytes of each number of the embedding rows on disk: float32, else fp16."""
    return 4 if bits == 32 else 2


def matrix_shape(config: ModelConfig, share: Share, kind: str) -> tuple[int, int]:
    """Rows and columns of a rank's part of a matrix."""
    columns = own_columns(config, share, kind)
    return (
        len(own_rows(config, share, kind)),
        config.hidden if columns is None else len(columns),
    )


def matrix_offsets(config: ModelConfig, share: Share, bits: Bits, part: str) -> dict[str, int]:
    """Where each matrix of a block starts, in bytes from the start of the block."""
    offsets, offset = {}, 0
    for kind in MATRICES[part]:
        offsets[kind] = offset
        offset += matrix_bytes(*matrix_shape(config, share, kind), bits)
    return offsets


def _data_start(blocks: int) -> int:
    """First page after the largest header of that many blocks."""
    return -(-(1 << 13) // PAGE) * PAGE + -(-blocks * 192 // PAGE) * PAGE
