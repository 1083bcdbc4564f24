"""Models of any shape with random weights, made row by row: for measurements and tests.

Any range of rows is the same whoever asks for it, so the ranks of a synthetic cluster agree
without a file, and a 70B model costs no disk.
"""

from __future__ import annotations

import math
import zlib

import numpy as np

from runtimes.cluster.arrays import F32
from runtimes.cluster.formats.base import checked_rows, tensor_shapes
from toolchain.cluster.config import ModelConfig
from toolchain.errors import ModelError


class SyntheticModel:
    """A `WeightSource` of seeded uniform weights with the variance of a trained model's.

    Args:
        config: the shape of the model.
        seed: another seed, another model.
    """

    def __init__(self, config: ModelConfig, seed: int = 0) -> None:
        self.config = config
        self._seed = seed
        self._shapes = tensor_shapes(config)

    def rows(self, name: str, start: int, stop: int) -> F32:
        """Make rows of a tensor; see `WeightSource.rows`."""
        if name not in self._shapes:
            raise ModelError("E223", f"no tensor {name}")
        shape = checked_rows(self._shapes[name], name, start, stop)
        tied = self.config.tied and name == "classifier"
        noise = self._uniform("embedding" if tied else name, start, shape)
        if name.endswith("norm"):
            return np.float32(1) + np.float32(0.1) * noise
        return noise * np.float32(math.sqrt(3.0 / self._shapes[name][-1]))

    def close(self) -> None:
        """Nothing is open."""

    def _uniform(self, name: str, start: int, shape: tuple[int, ...]) -> F32:
        """Values in -1..1 from a counter-based generator (Philox), placed by row number."""
        counters = -(-math.prod(shape[1:]) // 4)  # a counter gives four values
        generator = np.random.Philox(key=[self._seed, zlib.crc32(name.encode())])
        raw = generator.advance(start * counters).random_raw((shape[0] * counters * 4,))
        values = (raw >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)
        return values.reshape(shape[0], 4 * counters)[:, : math.prod(shape[1:])].reshape(shape)
