"""``.tflite`` files of one graph, crafted record by record."""

from __future__ import annotations

from collections.abc import Sequence

from toolchain.exporters import tflite_writer
from toolchain.exporters.tflite_writer import Record, Subgraph
from toolchain.ir import Tensor


def write(
    tensors: Sequence[Tensor],
    records: Sequence[Record],
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> bytes:
    return tflite_writer.write([Subgraph("net", tensors, records, inputs, outputs)])
