"""The engine on C kernels: one call per block, weights straight from a shard's pages."""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import addressof, byref, c_int32
from dataclasses import dataclass

from runtimes.cluster.buffers import Buffer, Rows
from runtimes.cluster.channels import layer_order
from runtimes.cluster.engine import Block, check_positions, check_tokens
from runtimes.cluster.memory import BlockMemory
from runtimes.cluster.native.library import (
    KV_BLOCKS,
    KV_KINDS,
    AttentionStruct,
    FeedForwardStruct,
    RankStruct,
    load,
)
from runtimes.cluster.rotation import rotation_table
from runtimes.cluster.shard import ShardFile
from runtimes.cluster.shard_layout import matrix_offsets
from toolchain.cluster.config import ModelConfig, rotary_frequencies
from toolchain.cluster.residency import Residency, plan_residency
from toolchain.cluster.split import KvKind, Share, mantissa_bits
from toolchain.errors import FitError, UsageError


@dataclass(frozen=True)
class EngineOptions:
    """How a rank computes.

    Attributes:
        slots: independent sequences.
        capacity: positions per slot; the model's context by default.
        kv: type of the key/value cache.
        batch: positions computed at a time; longer inputs are cut.
        threads: of the kernels.
        kernels: instruction set; the best that runs here by default.
        reproducible: int64 partial sums (32-bit shards only).
        memory: bytes for weights, caches and scratch; None: all weights are pinned.
    """

    slots: int = 1
    capacity: int | None = None
    kv: KvKind = "f32"
    batch: int = 32
    threads: int = 1
    kernels: str = ""
    reproducible: bool = False
    memory: int | None = None


class NativeEngine:
    """One rank on the kernels; see `runtimes.cluster.engine.Engine`.

    Args:
        shard: the rank's weights.
        options: how to compute.

    Attributes:
        residency: which blocks are pinned and which stream.
        memory_bytes: what this engine occupies in all; 0 when closed.

    Raises:
        FitError: E312, the memory limit is too low.
        ModelError: E224, the shard is damaged.
        ToolError: E601..E603, the kernels cannot be built or loaded.
        UsageError: E117 unknown kernels; E118 reproducible mode with quantised weights.
    """

    def __init__(self, shard: ShardFile, options: EngineOptions | None = None) -> None:
        options = options or EngineOptions()
        header = shard.header
        if options.reproducible and header.bits != 32:
            raise UsageError(
                "E118",
                f"reproducible mode needs a 32-bit shard, this one has {header.bits}-bit weights",
                hints=["tessera cluster convert MODEL -o shards --bits 32"],
            )
        self.config: ModelConfig = header.config
        self.share: Share = header.share
        self.slots = options.slots
        self.capacity = options.capacity or header.config.context
        self.reproducible = options.reproducible
        self._shard = shard
        self._batch = options.batch
        self._library = load(options.kernels)
        self._vectors = shard.resident()
        self._rank = self._make_rank(options)
        self._scratch = Buffer.zeros(self._library.tessera_scratch_bytes(byref(self._rank)))
        self._rank.scratch = self._scratch.address
        self._caches = self._make_caches()
        self._frequencies = [
            tuple(rotary_frequencies(self.config, layer)) for layer in range(self.config.layers)
        ]
        self._orders = self._make_orders()
        self._attention, self._feed_forward = self._make_blocks()
        self._blocks = self._make_memory(options)

    @property
    def waited_s(self) -> float:
        """Seconds spent waiting for weights from the disk so far."""
        return self._blocks.waited_s

    def embed(self, tokens: Sequence[int]) -> Rows:
        """Look up embedding rows; see `Engine.embed`."""
        check_tokens(self.config, tokens)
        stored, out = self._shard.embedding(tokens), Rows.empty(len(tokens), self.config.hidden)
        halfs, scale = self._shard.header.bits != 32, self.config.embedding_scale
        self._library.tessera_embed(stored.address, out.size, halfs, scale, out.address)
        return out

    def attention(self, layer: int, hidden: Rows, slot: int, position: int) -> Rows:
        """Own heads of an attention block; see `Engine.attention`."""
        check_positions(self, slot, position, len(hidden))
        out = self._empty_partial(len(hidden))
        tiles = self._blocks.get(f"layers.{layer}.attention").address
        block, cache = self._attention[layer], self._caches[slot][layer].address
        block.qkv, block.o = tiles, tiles + self._o_offset
        for start, stop in self._batches(hidden):
            at = position + start
            rotation = rotation_table(self._frequencies[layer], at, stop - start)
            self._library.tessera_attention(
                *(byref(self._rank), byref(block), cache, hidden.part(start, stop).address),
                *(rotation.address, stop - start, at, out.part(start, stop).address),
            )
        return out

    def feed_forward(self, layer: int, hidden: Rows) -> Rows:
        """Own columns of a feed-forward block; see `Engine.feed_forward`."""
        out = self._empty_partial(len(hidden))
        tiles = self._blocks.get(f"layers.{layer}.feed_forward").address
        block = self._feed_forward[layer]
        block.gate_up, block.down = tiles, tiles + self._down_offset
        for start, stop in self._batches(hidden):
            self._library.tessera_feed_forward(
                *(byref(self._rank), byref(block), hidden.part(start, stop).address),
                *(stop - start, out.part(start, stop).address),
            )
        return out

    def combine(self, layer: int, block: Block, hidden: Rows, total: Rows) -> Rows:
        """Residual addition, in place; see `Engine.combine`."""
        norm = None
        if self.config.post_norms:
            name = "attention" if block is Block.ATTENTION else "feed_forward"
            norm = self._vectors[f"layers.{layer}.{name}_post_norm"].address
        self._library.tessera_combine(
            *(byref(self._rank), norm, total.address, total.fixed, len(hidden), hidden.address)
        )
        return hidden

    def logits(self, hidden: Rows) -> Rows:
        """Compute own classifier rows; see `Engine.logits`."""
        out = Rows.empty(len(hidden), len(self.share.vocab))
        tiles = self._blocks.get("classifier").address
        norm = self._vectors["final_norm"].address
        for start, stop in self._batches(hidden):
            self._library.tessera_logits(
                *(byref(self._rank), tiles, norm, hidden.part(start, stop).address),
                *(stop - start, out.part(start, stop).address),
            )
        return out

    def truncate(self, slot: int, length: int) -> None:
        """Forget later positions: they will be overwritten before they are read."""
        check_positions(self, slot, length, 0)

    def close(self) -> None:
        """Stop threads and close the shard; may be called twice."""
        self._blocks.close()
        self._caches, self.memory_bytes = [], 0
        if self._rank.pool:
            self._library.tessera_pool_free(self._rank.pool)
            self._rank.pool = None
        self._shard.close()

    def _empty_partial(self, n: int) -> Rows:
        return Rows.empty(n, self.config.hidden, fixed=self.reproducible)

    def _batches(self, hidden: Rows) -> list[tuple[int, int]]:
        """Cut positions into what one call takes: start and stop of each."""
        n, most = len(hidden), self._batch
        return [(start, min(start + most, n)) for start in range(0, n, most)]

    def _make_rank(self, options: EngineOptions) -> RankStruct:
        config, share = self.config, self.share
        owners = [
            head // config.group - share.kv_heads.start
            for head in range(share.heads.start, share.heads.stop)
        ]
        self._owners = (c_int32 * len(owners))(*owners)
        return RankStruct(
            hidden=config.hidden,
            head_dim=config.head_dim,
            heads=len(share.heads),
            kv_heads=len(share.kv_heads),
            group=config.group,
            ffn=len(share.ffn),
            vocab=len(share.vocab),
            bits=self._shard.header.bits,
            kv_kind=KV_KINDS.get(options.kv, KV_BLOCKS),
            kv_bits=mantissa_bits(options.kv),
            capacity=self.capacity,
            interleaved=config.rope_style == "interleaved",
            gelu=config.activation == "gelu_tanh",
            fixed_point=options.reproducible,
            batch=options.batch,
            norm_eps=config.norm_eps,
            attention_scale=config.attention_scale,
            attention_softcap=config.attention_softcap,
            logit_softcap=config.logit_softcap,
            kv_of_head=addressof(self._owners),
            pool=self._library.tessera_pool_new(options.threads),
        )

    def _make_caches(self) -> list[list[Buffer]]:
        size = self._library.tessera_cache_bytes(byref(self._rank))
        layers = range(self.config.layers)
        return [[Buffer.zeros(size) for _ in layers] for _ in range(self.slots)]

    def _make_orders(self) -> list[Buffer]:
        """Order of the cached channels of each layer; none unless blocks share exponents."""
        if self._rank.kv_kind != KV_BLOCKS:
            return []
        dim, layers = self.config.head_dim, range(self.config.layers)
        return [layer_order(self._vectors, layer, dim) for layer in layers]

    def _make_blocks(self) -> tuple[list[AttentionStruct], list[FeedForwardStruct]]:
        config, bits = self.config, self._shard.header.bits
        self._o_offset = matrix_offsets(config, self.share, bits, "attention")["o"]
        self._down_offset = matrix_offsets(config, self.share, bits, "feed_forward")["down"]
        attention, feed_forward = [], []
        for layer in range(config.layers):
            vector = {
                name: self._vectors[f"layers.{layer}.{key}"].address
                for name, key in _ATTENTION_VECTORS
                if f"layers.{layer}.{key}" in self._vectors
            }
            order = self._orders[layer].address if self._orders else None
            window = config.layer_window(layer)
            attention.append(AttentionStruct(window=window, order=order, **vector))
            norm = self._vectors[f"layers.{layer}.feed_forward_norm"].address
            feed_forward.append(FeedForwardStruct(norm=norm))
        return attention, feed_forward

    def _make_memory(self, options: EngineOptions) -> BlockMemory:
        streams = [
            block
            for block in self._shard.header.blocks
            if block.name not in ("resident", "embedding")
        ]
        fixed = self._fixed_bytes()
        self.residency = _fit([block.bytes for block in streams], fixed, options.memory)
        self.memory_bytes = fixed + self.residency.bytes
        return BlockMemory(self._shard, [block.name for block in streams], self.residency)

    def _fixed_bytes(self) -> int:
        """Bytes of everything but the weights."""
        caches = sum(len(cache) for slot in self._caches for cache in slot)
        return caches + len(self._scratch) + self._shard.blocks["resident"].bytes


def _fit(sizes: Sequence[int], fixed: int, memory: int | None) -> Residency:
    """Plan what streams; a memory that is too small is told what all of the engine needs."""
    budget = None if memory is None else max(memory - fixed, 0)
    try:
        return plan_residency(sizes, budget)
    except FitError as error:
        needed = fixed + int(error.numbers["needed"])
        raise FitError(
            "E312",
            f"this rank needs at least {needed} bytes for weights, caches and scratch",
            numbers={"needed": needed, "available": memory},
        ) from None


_ATTENTION_VECTORS = (
    ("norm", "attention_norm"),
    *((name, name) for name in ("q_bias", "k_bias", "v_bias", "q_norm", "k_norm")),
)
