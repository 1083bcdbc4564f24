"""The C of a front end, beside the network that it feeds."""

from __future__ import annotations

from codegen.emit import support
from codegen.render import render
from toolchain.frontend import AudioFrontend, ImageFrontend
from toolchain.frontend.audio_tables import LOW_EXPONENT


def audio_files(frontend: AudioFrontend, prefix: str) -> dict[str, str]:
    """Return the C files of a front end: ``{path: text}``, as `codegen.emit.emit` does.

    Args:
        frontend: of the network's input.
        prefix: C prefix of the network.
    """
    tables = frontend.tables
    ends = [0]
    for band in tables.bands:
        ends.append(ends[-1] + len(band.weights))
    starts = [band.start for band in tables.bands] + [0]
    weights = [int(weight) for band in tables.bands for weight in band.weights]
    values = {
        "p": prefix, "P": prefix.upper(), "spec": frontend.spec, "t": tables,
        "frames": frontend.frames, "weights": weights, "low_exponent": LOW_EXPONENT,
        "bands": list(zip(starts, ends, strict=True)),
    }  # fmt: skip
    return {
        f"include/{prefix}_audio.h": render("frontend/audio.h.j2", **values),
        f"src/{prefix}_audio.c": render("frontend/audio.c.j2", **values),
        "src/tsr_audio.h": support("tsr_audio.h"),
    }


def audio_ram_bytes(frontend: AudioFrontend) -> int:
    """Return the static memory of a front end: transform, samples and frames kept."""
    spec = frontend.spec
    return 4 * spec.fft + 8 + 2 * spec.window + frontend.tensor.size + 12


def image_files(frontend: ImageFrontend, prefix: str) -> dict[str, str]:
    """Return the C files of a front end: ``{path: text}``, as `codegen.emit.emit` does.

    Args:
        frontend: of the network's input.
        prefix: C prefix of the network.
    """
    _, height, width, channels = frontend.tensor.shape
    values = {
        "p": prefix, "P": prefix.upper(), "spec": frontend.spec, "t": frontend,
        "height": height, "width": width, "channels": channels,
        "tables": 1 if (frontend.values == frontend.values[0]).all() else channels,
    }  # fmt: skip
    return {
        f"include/{prefix}_pixels.h": render("frontend/pixels.h.j2", **values),
        f"src/{prefix}_pixels.c": render("frontend/pixels.c.j2", **values),
    }
