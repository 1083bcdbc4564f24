"""Front ends and sounds for tests."""

from __future__ import annotations

import numpy as np

from toolchain.frontend import AudioSpec

KEYWORDS = AudioSpec(
    16000, 480, 320, 512, 40, 20.0, 4000.0, dct="htk", coefficients=10
)  # MLPerf Tiny's keyword spotting


def signal(rng: np.random.Generator, count: int, loudness: float) -> np.ndarray:
    """Return tones that glide, with noise, of a given peak."""
    time = np.arange(count) / 16000
    wave = rng.normal(0, 0.05, count)
    for _ in range(4):
        start, slope = rng.uniform(50, 3000), rng.uniform(-2000, 2000)
        wave += rng.uniform(0.1, 1) * np.sin(2 * np.pi * (start + slope * time) * time)
    return np.round(wave / np.abs(wave).max() * loudness).astype(np.int16)


def random_spec(rng: np.random.Generator) -> AudioSpec:
    fft = 1 << int(rng.integers(6, 11))
    dct = str(rng.choice(["none", "htk", "ortho"]))
    bins = int(rng.integers(3, 20))
    return AudioSpec(
        sample_rate=16000,
        window=int(rng.integers(fft // 2, fft + 1)),
        hop=int(rng.integers(fft // 4, fft)),
        fft=fft,
        mel_bins=bins,
        low_hz=float(rng.uniform(0, 200)),
        high_hz=float(rng.uniform(4000, 8000)),
        window_shape=str(rng.choice(["hann", "hamming", "rectangular"])),
        power=int(rng.integers(1, 3)),
        mel=str(rng.choice(["tensorflow", "librosa"])),
        log=str(rng.choice(["natural", "log10", "decibel"])),
        log_offset=float(10.0 ** rng.uniform(-6, -1)),
        dct=dct,
        coefficients=0 if dct == "none" else int(rng.integers(1, bins + 1)),
        full_scale=float(rng.choice([32768.0, 1.0])),
        mean=float(rng.normal()),
        std=float(rng.uniform(0.5, 3)),
    ).check("test")
