"""The generated front end against its reference, bit by bit: on this machine and emulated."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest

from codegen.frontend import audio_files
from runtimes.emulator.machine import Machine
from runtimes.host.library import compile_host, write_files
from runtimes.toolchains import link
from tests.frontend.specs import KEYWORDS, random_spec, signal
from tests.runtimes.networks import small_network
from toolchain.frontend import AudioFrontend, AudioSpec
from toolchain.ir import Array, DType, Quant, Tensor

SANITIZED = ("-fsanitize=undefined", "-fno-sanitize-recover=all", "-fsanitize=float-cast-overflow")


def frontend(spec: AudioSpec, frames: int, scale: float = 0.3) -> AudioFrontend:
    shape = (1, frames, spec.features, 1)
    return AudioFrontend.of(spec, Tensor("x", shape, DType.INT8, Quant.per_tensor(scale, 20)))


class Compiled:
    """A front end in this process."""

    def __init__(self, made: AudioFrontend, folder: Path, *extra: str) -> None:
        self.made = made
        self.library = compile_host(audio_files(made, "net"), folder, extra)

    def push(self, samples: Array) -> int:
        data = np.ascontiguousarray(samples, np.int16)
        pointer = data.ctypes.data_as(ctypes.POINTER(ctypes.c_int16))
        return int(self.library.net_audio_push(pointer, len(data)))

    def fill(self) -> Array:
        out = np.zeros(self.made.tensor.size, np.int8)
        self.library.net_audio_fill(out.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)))
        return out.reshape(self.made.frames, -1)


@pytest.mark.parametrize("seed", range(12))
def test_pieces_of_any_length_give_the_reference_bits(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    spec = KEYWORDS if seed == 0 else random_spec(rng)
    made = frontend(spec, int(rng.integers(1, 5)))
    narrow = ["-DTSR_NARROW_PRODUCTS"] if seed // 2 % 2 else []  # as on Armv6-M
    compiled = Compiled(made, tmp_path, *SANITIZED, *narrow)
    samples = signal(rng, 6 * spec.hop + spec.window, float(rng.choice([2, 900, 32767])))
    samples[: spec.window] = 0 if seed % 2 else -32768
    expected = made.features(samples)
    for _ in range(2):
        assert not compiled.library.net_audio_ready()
        total, at = 0, 0
        while at < len(samples):
            size = int(rng.integers(1, spec.hop))
            total += compiled.push(samples[at : at + size])
            at += size
        assert total == len(expected)
        assert compiled.library.net_audio_ready()
        np.testing.assert_array_equal(compiled.fill(), expected[-made.frames :])
        compiled.library.net_audio_reset()


PROBE = """
#include "net_audio.h"
int16_t probe_samples[NET_AUDIO_WINDOW];
int8_t probe_features[NET_AUDIO_FEATURES];
void probe(void);
__attribute__((used)) void probe(void) { net_audio_frame(probe_samples, probe_features); }
"""


@pytest.mark.parametrize("board", ["nucleo_f446re", "nucleo_l073rz"])
def test_the_emulated_core_gives_the_reference_bits(board: str, tmp_path: Path) -> None:
    made = frontend(KEYWORDS, 1)
    files = {f"lib/net/{path}": text for path, text in audio_files(made, "net").items()}
    network = small_network(board)
    files |= network.files | {"src/probe.c": PROBE}
    write_files(files, tmp_path)
    machine = Machine(link(files, network.board, tmp_path, extra=["-Wl,-u,probe"]), network.board)
    machine.start()
    symbols = machine.image.symbols
    for seed, loudness in enumerate((5, 3000, 32767)):
        samples = signal(np.random.default_rng(seed), KEYWORDS.window, loudness)
        machine.write(symbols["probe_samples"], samples.tobytes())
        machine.call("probe")
        got = np.frombuffer(machine.read(symbols["probe_features"], 10), np.int8)
        np.testing.assert_array_equal(got, made.frame(samples))
