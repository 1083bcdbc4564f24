"""Functions that are tables against TFLite's kernels, which compute them in float32."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.ops.harness import random_values
from tests.ops.test_elu import random_elu
from tests.ops.test_exp import random_exp
from tests.ops.test_gelu import random_gelu
from tests.ops.test_log import random_log
from tests.ops.test_rsqrt import random_rsqrt
from tests.ops.test_sqrt import random_sqrt
from tests.oracle.micro import assert_reference_equals_micro
from tests.oracle.runtimes import Micro, Reference
from toolchain.exporters.tflite import export_tflite
from toolchain.ir import Graph, run

KERNELS = "BUILTIN_WITHOUT_DEFAULT_DELEGATES"  # ELU is not among the reference kernels
MAKERS = [random_elu, random_exp, random_gelu, random_log]


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__.removeprefix("random_"))
def test_equals_tflite_but_for_ties(make: Callable[[np.random.Generator], Graph]) -> None:
    """The last bit of float32 functions differs between libraries, and with it some ties."""
    different = total = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        graph = make(rng)
        values = [random_values(tensor, rng) for tensor in graph.input_tensors]
        (want,) = Reference(export_tflite(graph), KERNELS).run(values, 1)
        (got,) = run(graph, values)
        distance = np.abs(got.astype(int) - want)
        assert distance.max() <= 1, f"seed {seed}"
        different, total = different + int(np.count_nonzero(distance)), total + distance.size
    assert different <= total / 1000


def test_elu_equals_tflite_micro() -> None:
    """Of these functions it knows no other on integers."""
    assert_reference_equals_micro(random_elu)


@pytest.mark.parametrize(
    ("make", "oracle"),
    [(random_rsqrt, Micro), (random_rsqrt, Reference), (random_sqrt, Reference)],
    ids=lambda one: one.__name__,
)
def test_roots_of_positive_numbers_are_within_a_step(
    make: Callable[[np.random.Generator], Graph], oracle: type[Micro | Reference]
) -> None:
    """The runtimes compute inverse roots in fixed point, and refuse what has none."""
    for seed in range(200):
        rng = np.random.default_rng(seed)
        graph = make(rng)
        (x,) = graph.input_tensors
        if x.zero_point == 127:
            continue
        positive = np.maximum(random_values(x, rng), np.int8(x.zero_point + 1))
        (want,) = oracle(export_tflite(graph)).run([positive], 1)
        assert np.abs(run(graph, [positive])[0].astype(int) - want).max() <= 1, f"seed {seed}"
