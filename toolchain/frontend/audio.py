"""Log-mel energies and MFCCs in integers: the reference of ``firmware_templates/frontend``.

A frame is scaled to 29 bits (block floating point), windowed and transformed in 32 bits with half
the sum kept in each of the stages; the real transform comes out of a complex one of half the
points. Bands are summed in 64 bits, logarithms are interpolated in a table, and one integer
matrix makes features of them: DCT, base of the logarithm, normalisation and quantisation at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from toolchain.errors import UsageError
from toolchain.frontend.audio_spec import AudioSpec
from toolchain.frontend.audio_tables import (
    LOG_BITS,
    LOG_TABLE,
    LOW_EXPONENT,
    POWER_SHIFT,
    AudioTables,
    audio_tables,
)
from toolchain.ir.tensor import Array, DType, Tensor


@dataclass(frozen=True, eq=False)
class AudioFrontend:
    """A front end for one input tensor.

    Attributes:
        spec: what is computed.
        tensor: the network's input: int8, quantised, its last axes are the features of a frame.
        tables: the integer constants.
    """

    spec: AudioSpec
    tensor: Tensor
    tables: AudioTables

    @classmethod
    def of(cls, spec: AudioSpec, tensor: Tensor) -> AudioFrontend:
        """Return the front end that fills ``tensor``.

        Raises:
            UsageError: E144 if features do not fit the tensor's shape or type.
        """
        quant = tensor.quant
        if tensor.dtype is not DType.INT8 or quant is None:
            raise UsageError(
                "E144", "a front end fills int8 inputs", where=f'"{tensor.name}"',
                hints=["compile with --int8-ports"],
            )  # fmt: skip
        if tensor.size % spec.features:
            raise UsageError(
                "E144",
                f"{spec.features} features per frame do not fill {list(tensor.shape)}",
                where=f'"{tensor.name}"',
            )
        tables = audio_tables(spec, float(quant.scales[0]), int(quant.zero_points[0]))
        return cls(spec, tensor, tables)

    @property
    def frames(self) -> int:
        """Return the number of frames that the input holds."""
        return self.tensor.size // self.spec.features

    def features(self, samples: Array) -> Array:
        """Return the features int8 (frames, features) of all whole frames of int16 samples."""
        spec = self.spec
        count = max(0, (len(samples) - spec.window) // spec.hop + 1)
        frames = [samples[i * spec.hop :][: spec.window] for i in range(count)]
        made = [self.frame(np.asarray(frame, np.int16)) for frame in frames]
        return np.array(made, np.int8).reshape(count, spec.features)

    def frame(self, samples: Array) -> Array:
        """Return the features int8 of one frame of int16 samples."""
        spectrum, exponent = self._spectrum(samples.astype(np.int64))
        logs = [self._log(self._energy(spectrum, i), exponent) for i in range(self.spec.mel_bins)]
        table = self.tables
        sums = table.matrix.astype(np.int64) @ np.array(logs, np.int64) + table.bias
        return np.asarray(np.clip(sums >> table.shift, -128, 127), np.int8)

    def _spectrum(self, samples: Array) -> tuple[list[int], int]:
        """Return magnitudes, or shortened powers, of all bins, and the frame's exponent."""
        data = np.zeros(self.spec.fft, np.int64)
        data[: self.spec.window] = samples * self.tables.window
        largest = int(np.abs(data).max())
        exponent = 29 - largest.bit_length() if largest else 0
        data = data << exponent if exponent >= 0 else data >> -exponent
        re, im = real_transform(data, self.tables.twiddles.astype(np.int64))
        if self.spec.power == 1:
            return magnitudes(re, im), exponent
        power = [int(a) * int(a) + int(b) * int(b) for a, b in zip(re, im, strict=True)]
        return [p >> POWER_SHIFT for p in power], exponent

    def _energy(self, spectrum: list[int], band: int) -> int:
        start, weights = self.tables.bands[band].start, self.tables.bands[band].weights
        return sum(int(w) * spectrum[start + i] for i, w in enumerate(weights))

    def _log(self, energy: int, exponent: int) -> int:
        """Return log2 of a band's real energy with the offset, in 1/65536."""
        table = self.tables
        value = max(1, energy + int(table.offsets[exponent - LOW_EXPONENT]))
        top = value.bit_length() - 1
        mantissa = (value << (63 - top)) >> 32 & 0x7FFFFFFF  # 31 bits behind the point
        piece, rest = mantissa >> 25, mantissa >> 9 & 0xFFFF
        assert piece < LOG_TABLE
        low, high = (int(table.logarithms[piece + i]) for i in range(2))
        whole = top + table.scale_bits - self.spec.power * exponent
        return whole * (1 << LOG_BITS) + low + ((high - low) * rest >> 16)


def real_transform(data: Array, twiddles: Array) -> tuple[Array, Array]:
    """Return real and imaginary parts of bins 0 to N / 2 of the transform of N reals, over N / 2.

    The first two stages only add; later ones multiply, with products that lose 32 bits, which
    cores without wide products make of four narrow ones.

    Args:
        data: int64 (N,), below 2^29; N is at least 8.
        twiddles: int64 (N / 2, 2), e^(-2 pi i k / N) in 1 / 2^30.
    """
    half = len(data) // 2
    bits = half.bit_length() - 1
    order = [int(f"{i:0{bits}b}"[::-1], 2) for i in range(half)]
    re, im = _first_stages(data[0::2][order], data[1::2][order])
    size = 4
    while size < half:
        turns = twiddles[:: half // size][:size]
        re, im = re.reshape(-1, 2, size), im.reshape(-1, 2, size)
        b_re, b_im = _turned(re[:, 1], im[:, 1], turns)
        a_re, a_im = re[:, 0] >> 1, im[:, 0] >> 1
        re = np.stack([a_re + 2 * b_re, a_re - 2 * b_re], 1).reshape(-1)
        im = np.stack([a_im + 2 * b_im, a_im - 2 * b_im], 1).reshape(-1)
        size *= 2
    return _split(re, im, twiddles)


def _first_stages(re: Array, im: Array) -> tuple[Array, Array]:
    """Return the transforms of four numbers each over 4, with turns 1 and -i."""
    re, im = re.reshape(-1, 2, 2), im.reshape(-1, 2, 2)
    sum_re, sum_im = (re[..., 0] + re[..., 1]) >> 1, (im[..., 0] + im[..., 1]) >> 1
    less_re, less_im = (re[..., 0] - re[..., 1]) >> 1, (im[..., 0] - im[..., 1]) >> 1
    made_re = [
        sum_re[:, 0] + sum_re[:, 1], less_re[:, 0] + less_im[:, 1],
        sum_re[:, 0] - sum_re[:, 1], less_re[:, 0] - less_im[:, 1],
    ]  # fmt: skip
    made_im = [
        sum_im[:, 0] + sum_im[:, 1], less_im[:, 0] - less_re[:, 1],
        sum_im[:, 0] - sum_im[:, 1], less_im[:, 0] + less_re[:, 1],
    ]  # fmt: skip
    return np.stack(made_re, 1).reshape(-1) >> 1, np.stack(made_im, 1).reshape(-1) >> 1


def _turned(re: Array, im: Array, turns: Array) -> tuple[Array, Array]:
    """Return quarters of products with e^(-i angle); each of four products is rounded down."""
    cos, sin = turns[:, 0], turns[:, 1]
    return (re * cos >> 32) - (im * sin >> 32), (re * sin >> 32) + (im * cos >> 32)


def _split(re: Array, im: Array, twiddles: Array) -> tuple[Array, Array]:
    """Return the bins of a real signal whose even samples are ``re`` and whose odd ones ``im``.

    Bins k and N / 2 - k come of the same two points; the second is conjugated.
    """
    count = len(re)
    k = np.arange(count // 2 + 1)
    a_re, a_im, b_re, b_im = re[k], im[k], re[-k % count], im[-k % count]
    odd_re, odd_im = a_im + b_im >> 1, -(a_re - b_re >> 1)
    turned_re, turned_im = _turned(odd_re, odd_im, twiddles[k])
    even_re, even_im = a_re + b_re >> 1, a_im - b_im >> 1
    bins_re, bins_im = np.zeros(count + 1, np.int64), np.zeros(count + 1, np.int64)
    bins_re[k], bins_im[k] = even_re + 4 * turned_re, even_im + 4 * turned_im
    bins_re[count - k], bins_im[count - k] = even_re - 4 * turned_re, 4 * turned_im - even_im
    return bins_re, bins_im


def magnitudes(re: Array, im: Array) -> list[int]:
    """Return roots of ``re^2 + im^2``; 15 bits from the larger one's first count, of both parts."""
    found = []
    for a, b in zip(np.abs(re).tolist(), np.abs(im).tolist(), strict=True):
        shift = max(0, (a | b).bit_length() - 15)
        found.append(math.isqrt((a >> shift) ** 2 + (b >> shift) ** 2) << shift)
    return found
