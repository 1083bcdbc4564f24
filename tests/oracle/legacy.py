"""An int8 file turned into the uint8 file of old that means the same."""

from __future__ import annotations

import numpy as np
import pytest

from toolchain.exporters.tflite import export_tflite
from toolchain.ir import Graph

_UINT8, _INT8 = 3, 9


def export_legacy(graph: Graph) -> bytes:
    """Return ``graph``, whose weights have one scale each, with uint8 tensors."""
    import flatbuffers

    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(export_tflite(graph), 0))
    for tensor in model.subgraphs[0].tensors:
        if tensor.type != _INT8:
            continue
        tensor.type = _UINT8
        tensor.quantization.zeroPoint = [int(p) + 128 for p in tensor.quantization.zeroPoint]
        if tensor.buffer:
            buffer = model.buffers[tensor.buffer]
            buffer.data = np.asarray(buffer.data, np.uint8) ^ 0x80
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
