"""Integer log-mel energies and MFCCs against the same formulas in double precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.frontend.specs import KEYWORDS, random_spec, signal
from toolchain.errors import UsageError
from toolchain.frontend import AudioFrontend, AudioSpec, read_frontend
from toolchain.frontend.audio import real_transform
from toolchain.frontend.audio_tables import mel_weights
from toolchain.ir import DType, Quant, Tensor


def truth(spec: AudioSpec, samples: np.ndarray) -> np.ndarray:
    """Return real features (frames, features), straight from the definitions."""
    found = []
    shape = {"hann": (0.5, 0.5), "hamming": (0.54, 0.46), "rectangular": (1.0, 0.0)}
    a, b = shape[spec.window_shape]
    window = a - b * np.cos(2 * np.pi * np.arange(spec.window) / spec.window)
    for start in range(0, len(samples) - spec.window + 1, spec.hop):
        frame = samples[start : start + spec.window] / spec.full_scale * window
        bands = mel_weights(spec) @ np.abs(np.fft.rfft(frame, spec.fft)) ** spec.power
        logs = np.log(bands + spec.log_offset)
        logs *= {"natural": 1, "log10": 1 / np.log(10), "decibel": 10 / np.log(10)}[spec.log]
        found.append([cosine(logs, k, spec.dct) for k in range(spec.features)])
    return (np.array(found) - spec.mean) / spec.std


def cosine(logs: np.ndarray, k: int, dct: str) -> float:
    if dct == "none":
        return float(logs[k])
    n = len(logs)
    total = sum(x * np.cos(np.pi * k * (2 * j + 1) / (2 * n)) for j, x in enumerate(logs))
    return float(total * np.sqrt((1 if k == 0 and dct == "ortho" else 2) / n))


def tensor(spec: AudioSpec, real: np.ndarray) -> Tensor:
    low, high = float(real.min()), float(real.max())
    scale = max(high - low, 1e-3) / 255
    quant = Quant.per_tensor(scale, int(np.clip(round(-128 - low / scale), -128, 127)))
    return Tensor("features", (1, len(real), spec.features, 1), DType.INT8, quant)


def assert_close(spec: AudioSpec, samples: np.ndarray) -> None:
    real = truth(spec, samples)
    port = tensor(spec, real)
    assert port.quant is not None
    got = AudioFrontend.of(spec, port).features(samples)
    steps = real / port.quant.scales[0] + port.quant.zero_points[0]
    error = np.abs(got - np.clip(steps, -128, 127))
    assert error.max() < 0.6, error.max()  # half a step is what rounding costs


@pytest.mark.parametrize("loudness", [3, 200, 32767])
def test_keyword_features_are_right_at_any_loudness(loudness: float) -> None:
    assert_close(KEYWORDS, signal(np.random.default_rng(int(loudness)), 4000, loudness))


@pytest.mark.parametrize("seed", range(25))
def test_random_front_ends_equal_the_formulas(seed: int) -> None:
    rng = np.random.default_rng(seed)
    spec = random_spec(rng)
    assert_close(spec, signal(rng, 4 * spec.fft, float(rng.choice([500, 20000]))))


def test_the_transform_is_that_of_a_real_signal() -> None:
    rng = np.random.default_rng(0)
    for size in (8, 32, 1024):
        data = rng.integers(-(2**29) + 1, 2**29, size)
        angles = -2 * np.pi * np.arange(size // 2) / size
        turns = np.stack([np.cos(angles), np.sin(angles)], 1)
        twiddles = np.round(turns * 2.0**30).astype(np.int64)
        re, im = real_transform(data, twiddles)
        expected = np.fft.rfft(data) / (size / 2)
        assert np.abs(re + 1j * im - expected).max() < 3 * np.log2(size)


def test_silence_gives_the_offset() -> None:
    real = np.log(np.array([1e-6, 1.0]))
    spec = AudioSpec(16000, 400, 160, 512, 20, 50.0, 7000.0)
    port = tensor(spec, real)
    got = AudioFrontend.of(spec, port).frame(np.zeros(400, np.int16))
    assert set(got.tolist()) == {-128}


def test_bad_files_are_refused_by_key(tmp_path: Path) -> None:
    good = {
        "sample_rate": "16000", "window": "480", "hop": "320", "fft": "512", "mel_bins": "40",
        "low_hz": "20.0", "high_hz": "4000",
    }  # fmt: skip
    path = tmp_path / "kws.toml"

    def write(**changed: str) -> None:
        lines = [f"{k} = {v}" for k, v in (good | changed).items() if v]
        path.write_text("[audio]\n" + "\n".join(lines))

    write()
    read = read_frontend(path)
    assert isinstance(read, AudioSpec)
    assert read.features == 40
    for changed, code in (
        ({"fft": "500"}, "E143"),
        ({"window": "513"}, "E143"),
        ({"high_hz": "9000"}, "E143"),
        ({"hop": '"320"'}, "E142"),
        ({"bands": "3"}, "E142"),
        ({"hop": ""}, "E142"),
        ({"dct": '"dft"'}, "E143"),
        ({"low_hz": "nan"}, "E143"),
    ):
        write(**changed)
        with pytest.raises(UsageError, match=code) as caught:
            read_frontend(path)
        assert next(iter(changed)) in str(caught.value)


def test_features_must_fill_the_input() -> None:
    quant = Quant.per_tensor(0.5)
    for port in (
        Tensor("x", (1, 49, 9, 1), DType.INT8, quant),
        Tensor("x", (1, 49, 10, 1), DType.FLOAT32),
    ):
        with pytest.raises(UsageError, match="E144"):
            AudioFrontend.of(KEYWORDS, port)
