"""The kernels as a ctypes library: structs and functions of ``tessera.h``, nothing more."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_double, c_float, c_int32, c_int64, c_uint64, c_void_p
from functools import lru_cache
from pathlib import Path

from runtimes.cluster.native.build import build
from runtimes.cluster.native.cpu import VARIANTS, supported
from toolchain.errors import ToolError, UsageError

ABI = 5
KV_KINDS = {"f32": 0, "f16": 1, "int8": 2}
KV_BLOCKS = 3


class RankStruct(ctypes.Structure):
    """``struct tessera_rank``."""

    _fields_ = (
        *((name, c_int32) for name in ("hidden", "head_dim", "heads", "kv_heads", "group", "ffn")),
        *((name, c_int32) for name in ("vocab", "bits", "kv_kind", "kv_bits", "capacity")),
        *((name, c_int32) for name in ("interleaved", "gelu", "fixed_point", "batch")),
        *((name, c_float) for name in ("norm_eps", "attention_scale")),
        *((name, c_float) for name in ("attention_softcap", "logit_softcap")),
        *((name, c_void_p) for name in ("kv_of_head", "pool", "scratch")),
    )


class AttentionStruct(ctypes.Structure):
    """``struct tessera_attention``."""

    _fields_ = (
        *((name, c_void_p) for name in ("qkv", "o", "norm", "q_bias", "k_bias", "v_bias")),
        *((name, c_void_p) for name in ("q_norm", "k_norm", "order")),
        ("window", c_int32),
    )


class FeedForwardStruct(ctypes.Structure):
    """``struct tessera_feed_forward``."""

    _fields_ = tuple((name, c_void_p) for name in ("gate_up", "down", "norm"))


class SamplingStruct(ctypes.Structure):
    """``struct tessera_sampling``."""

    _fields_ = (
        *((name, c_double) for name in ("temperature", "top_p", "floor")),
        ("seed", c_int64),
        ("top_k", c_int32),
    )


_RANK = POINTER(RankStruct)
_SIGNATURES: dict[str, tuple[object, tuple[object, ...]]] = {
    "tessera_abi": (c_int32, ()),
    "tessera_pool_new": (c_void_p, (c_int32,)),
    "tessera_pool_free": (None, (c_void_p,)),
    "tessera_scratch_bytes": (c_int64, (_RANK,)),
    "tessera_cache_bytes": (c_int64, (_RANK,)),
    "tessera_attention": (
        None,
        (
            *(_RANK, POINTER(AttentionStruct), c_void_p, c_void_p, c_void_p),
            *(c_int32, c_int32, c_void_p),
        ),
    ),
    "tessera_feed_forward": (
        None,
        (_RANK, POINTER(FeedForwardStruct), c_void_p, c_int32, c_void_p),
    ),
    "tessera_logits": (None, (_RANK, c_void_p, c_void_p, c_void_p, c_int32, c_void_p)),
    "tessera_sample": (c_int32, (POINTER(SamplingStruct), c_void_p, c_int32, c_int64)),
    "tessera_likeliest": (None, (c_void_p, c_int32, c_int32, c_void_p)),
    "tessera_embed": (None, (c_void_p, c_int64, c_int32, c_float, c_void_p)),
    "tessera_combine": (None, (_RANK, c_void_p, c_void_p, c_int32, c_int32, c_void_p)),
    "tessera_stream": (c_uint64, (c_void_p, c_int64)),
    "tessera_encode_sums": (None, (c_void_p, c_int64, c_void_p)),
    "tessera_decode_sums": (None, (c_void_p, c_int64, c_void_p)),
    "tessera_encode_halfs": (None, (c_void_p, c_int64, c_void_p)),
    "tessera_decode_halfs": (None, (c_void_p, c_int64, c_void_p)),
    "tessera_encode_blocks": (None, (c_void_p, c_void_p, c_int32, c_int32, c_void_p)),
    "tessera_decode_blocks": (None, (c_void_p, c_int32, c_int32, c_int32, c_void_p)),
    "tessera_add_ranks": (None, (c_void_p, c_int32, c_int64, c_int32)),
    "tessera_pack": (None, (c_void_p, c_int32, c_int32, c_int32, c_void_p)),
    "tessera_matmul": (None, (_RANK, c_void_p, c_int32, c_int32, c_void_p, c_int32, c_void_p)),
}


def load(variant: str = "") -> ctypes.CDLL:
    """Load the kernels for this machine, building them first if need be.

    Args:
        variant: name of an instruction set; the best that runs here by default.

    Raises:
        UsageError: E117, the variant is unknown or does not run on this machine.
        ToolError: E601, E602 no compiler, or it failed.
    """
    here = supported()
    wanted = [one for one in here if variant in ("", one.name)]
    if not wanted:
        state = "unknown" if variant not in [one.name for one in VARIANTS] else "not for this CPU"
        raise UsageError(
            "E117",
            f"kernel variant {variant!r:.40} is {state}",
            hints=[f"kernels of this machine: {', '.join(one.name for one in here)}"],
        )
    return open_library(build(wanted[0]))


@lru_cache(maxsize=16)
def open_library(path: Path) -> ctypes.CDLL:
    """Open a built library and declare its functions.

    Raises:
        ToolError: E603, the library cannot be loaded or is of another version.
    """
    try:
        library = ctypes.CDLL(str(path))
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        raise ToolError(
            "E603", f"the kernels cannot be loaded: {error}", where=str(path)
        ) from error
    if library.tessera_abi() != ABI:
        raise ToolError("E603", "the kernels are of another version", where=str(path))
    return library
