"""From samples and pixels to the input of a network, in integers: the same bits everywhere."""

from toolchain.frontend.audio import AudioFrontend
from toolchain.frontend.audio_spec import AudioSpec
from toolchain.frontend.read import read_frontend

__all__ = ["AudioFrontend", "AudioSpec", "read_frontend"]
