"""What a keyword model wants to hear: the parameters of log-mel energies and MFCCs."""

from __future__ import annotations

from dataclasses import dataclass

from toolchain.errors import UsageError

WINDOWS = ("hann", "hamming", "rectangular")
LOGS = ("natural", "log10", "decibel")
MELS = ("tensorflow", "librosa")
DCTS = ("none", "htk", "ortho")
_MAX_FFT = 4096


@dataclass(frozen=True)
class AudioSpec:
    """Parameters of a front end.

    Attributes:
        sample_rate: Hz.
        window: samples of a frame.
        hop: samples from one frame to the next.
        fft: points of the transform, a power of two, at least ``window``.
        mel_bins: bands.
        low_hz: lower end of the first band.
        high_hz: upper end of the last band, at most half the sample rate.
        window_shape: one of `WINDOWS`, periodic.
        power: 1 for magnitudes, 2 for powers, of which bands are summed.
        mel: one of `MELS`. ``tensorflow``: HTK's mel scale, triangles linear in mel, without the
            bin of 0 Hz; ``librosa``: Slaney's scale, triangles linear in Hz, of equal area.
        log: one of `LOGS` of ``x + log_offset``; decibel is 10 log10.
        log_offset: added before the logarithm.
        dct: one of `DCTS`: none leaves log-mel energies; DCT-II with HTK's scale, sqrt(2 / bins)
            throughout, or orthonormal.
        coefficients: of the DCT that are kept, from the first on.
        full_scale: what the sample of value 1.0 is; 32768 for audio between -1 and 1.
        mean: subtracted from all features.
        std: which features are divided by after that.
    """

    sample_rate: int
    window: int
    hop: int
    fft: int
    mel_bins: int
    low_hz: float
    high_hz: float
    window_shape: str = "hann"
    power: int = 1
    mel: str = "tensorflow"
    log: str = "natural"
    log_offset: float = 1e-6
    dct: str = "none"
    coefficients: int = 0
    full_scale: float = 32768.0
    mean: float = 0.0
    std: float = 1.0

    @property
    def features(self) -> int:
        """Return the number of features of a frame."""
        return self.mel_bins if self.dct == "none" else self.coefficients

    def check(self, where: str) -> AudioSpec:
        """Return this if it makes sense.

        Raises:
            UsageError: E143, with the parameter's name.
        """
        bins = self.fft // 2 + 1
        rules = {
            "window": 1 <= self.window <= self.fft,
            "hop": self.hop >= 1,
            "fft": 8 <= self.fft <= _MAX_FFT and not self.fft & (self.fft - 1),
            "sample_rate": 1 <= self.sample_rate <= 1_000_000,
            "mel_bins": 1 <= self.mel_bins <= bins,
            "low_hz": 0 <= self.low_hz < self.high_hz,
            "high_hz": self.high_hz <= self.sample_rate / 2,
            "window_shape": self.window_shape in WINDOWS,
            "power": self.power in (1, 2),
            "mel": self.mel in MELS,
            "log": self.log in LOGS,
            "log_offset": 0 <= self.log_offset < 1e6,
            "dct": self.dct in DCTS,
            "coefficients": self.dct == "none" or 1 <= self.coefficients <= self.mel_bins,
            "full_scale": 1e-3 <= self.full_scale <= 1e6,
            "std": self.std > 0,
        }
        for name, holds in rules.items():
            if not holds:
                value = getattr(self, name)
                raise UsageError("E143", f"{name} = {value!r} is not possible", where=where)
        return self
