"""The constants of an audio front end, as integers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from toolchain.frontend.audio_spec import AudioSpec
from toolchain.ir.tensor import Array

WEIGHT_BITS = 12  # of the bands' weights; the greatest takes all of them
LOG_BITS = 16  # behind the point of logarithms
LOG_TABLE = 64  # pieces of the logarithm's mantissa
POWER_SHIFT = 20  # by which powers are shortened before they are summed
LOW_EXPONENT = -2  # a frame is scaled by 2^e: from here up to HIGH_EXPONENT
HIGH_EXPONENT = 29
_MATRIX_BITS = 30
_Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Band:
    """A mel band: from which bin of the spectrum on, and the bins' weights."""

    start: int
    weights: Array


@dataclass(frozen=True, eq=False)
class AudioTables:
    """All constants of a front end for one input tensor.

    Attributes:
        window: uint16 (window,), 32768 is 1.
        twiddles: int32 (fft / 2, 2), cosine and sine of -2 pi k / fft, 2^30 is 1.
        bands: one per mel bin.
        offsets: uint64, the log's offset for each exponent from `LOW_EXPONENT` on.
        logarithms: int32 (65,), log2 of 1 to 2 in 1/65536.
        matrix: int32 (features, mel_bins); a DCT with all scales folded in, or a diagonal.
        bias: int64 (features,).
        shift: bits behind the point of a row of the matrix times logarithms.
        scale_bits: log2 of what a sum of a band is worth, negative, at exponent 0.
    """

    window: Array
    twiddles: Array
    bands: tuple[Band, ...]
    offsets: Array
    logarithms: Array
    matrix: Array
    bias: Array
    shift: int
    scale_bits: int


def audio_tables(spec: AudioSpec, scale: float, zero_point: int) -> AudioTables:
    """Return the constants that make integers of an input tensor with this quantisation."""
    log_m = spec.fft.bit_length() - 2  # of the complex transform of half the points
    mel = mel_weights(spec)
    weight_bits = WEIGHT_BITS + math.floor(-math.log2(mel.max()))
    scale_bits = log_m - 30 if spec.power == 1 else 2 * log_m - 60 + POWER_SHIFT
    scale_bits -= weight_bits
    gain = (32768.0 / spec.full_scale) ** spec.power
    offsets = [
        min(round(spec.log_offset / gain * 2.0 ** (spec.power * e - scale_bits)), 1 << 61)
        for e in range(LOW_EXPONENT, HIGH_EXPONENT + 1)
    ]
    real = _feature_matrix(spec) / (spec.std * scale)
    bias = real.sum(1) * math.log2(gain) + zero_point - spec.mean / (spec.std * scale)
    bits = max(0, min(_MATRIX_BITS - max(1, math.ceil(np.abs(real).max())).bit_length(), 30))
    shift = bits + LOG_BITS
    angles = -2 * np.pi * np.arange(spec.fft // 2) / spec.fft
    turns = np.stack([np.cos(angles), np.sin(angles)], 1)
    mantissas = 1 + np.arange(LOG_TABLE + 1) / LOG_TABLE
    return AudioTables(
        window=np.round(_window(spec) * 32768).astype(np.uint16),
        twiddles=np.round(turns * 2.0**30).astype(np.int32),
        bands=tuple(_band(row * 2.0**weight_bits) for row in mel),
        offsets=np.array(offsets, np.uint64),
        logarithms=np.round(np.log2(mantissas) * (1 << LOG_BITS)).astype(np.int32),
        matrix=np.round(real * 2.0**bits).astype(np.int32),
        bias=np.round(bias * 2.0**shift + 2.0 ** (shift - 1)).astype(np.int64),
        shift=shift,
        scale_bits=scale_bits,
    )


def _window(spec: AudioSpec) -> _Reals:
    turn = np.cos(2 * np.pi * np.arange(spec.window) / spec.window)
    shapes = {"hann": 0.5 - 0.5 * turn, "hamming": 0.54 - 0.46 * turn}
    return shapes.get(spec.window_shape, np.ones(spec.window))


def mel_weights(spec: AudioSpec) -> _Reals:
    """Return the weights (mel_bins, fft / 2 + 1) of the spectrum's bins in each band."""
    hertz = np.arange(spec.fft // 2 + 1) * spec.sample_rate / spec.fft
    if spec.mel == "tensorflow":
        places = 1127.0 * np.log1p(hertz / 700.0)
        low, high = (1127.0 * math.log1p(f / 700.0) for f in (spec.low_hz, spec.high_hz))
        edges = np.linspace(low, high, spec.mel_bins + 2)
    else:
        places = hertz
        low, high = _slaney(spec.low_hz), _slaney(spec.high_hz)
        edges = _slaney_hertz(np.linspace(low, high, spec.mel_bins + 2))
    left, centre, right = (edges[i : i + spec.mel_bins, None] for i in range(3))
    rising, falling = (places - left) / (centre - left), (right - places) / (right - centre)
    weights = np.maximum(0.0, np.minimum(rising, falling))
    if spec.mel == "tensorflow":
        weights[:, 0] = 0.0
        return weights
    return weights * 2.0 / (right - left)


def _slaney(hertz: float) -> float:
    """Return Slaney's mel of a frequency: linear below 1 kHz, logarithmic above."""
    if hertz < 1000.0:
        return hertz * 3.0 / 200.0
    return 15.0 + math.log(hertz / 1000.0) * 27.0 / math.log(6.4)


def _slaney_hertz(mels: _Reals) -> _Reals:
    above = 1000.0 * np.exp((mels - 15.0) * math.log(6.4) / 27.0)
    return np.where(mels < 15.0, mels * 200.0 / 3.0, above)


def _band(weights: _Reals) -> Band:
    rounded = np.round(weights).astype(np.uint16)
    used = np.flatnonzero(rounded)
    start, end = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 0)
    return Band(start, rounded[start:end])


def _feature_matrix(spec: AudioSpec) -> _Reals:
    """Return the features of log2 energies: the logarithm's base and the DCT."""
    bases = {"natural": math.log(2), "log10": math.log10(2), "decibel": 10 * math.log10(2)}
    bins = spec.mel_bins
    if spec.dct == "none":
        return np.eye(bins) * bases[spec.log]
    k, j = np.arange(spec.coefficients)[:, None], np.arange(bins)[None] + 0.5
    matrix = np.cos(np.pi * k * j / bins) * math.sqrt(2 / bins)
    if spec.dct == "ortho":
        matrix[0] *= math.sqrt(0.5)
    return matrix * bases[spec.log]
