"""From samples and pixels to the input of a network, in integers: the same bits everywhere."""

from toolchain.frontend.audio import AudioFrontend
from toolchain.frontend.audio_spec import AudioSpec
from toolchain.frontend.image import ImageFrontend
from toolchain.frontend.image_spec import ImageSpec
from toolchain.frontend.read import read_frontend

__all__ = ["AudioFrontend", "AudioSpec", "ImageFrontend", "ImageSpec", "read_frontend"]
