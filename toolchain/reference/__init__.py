"""The float32 meaning of graphs: what a network is before it is quantised.

A float graph is a `Graph` of the same operators on float32 tensors. A float tensor may carry a
quantisation: its values are then rounded to it, as QDQ models demand.
"""

from toolchain.reference.run import fake_quantize, run_float, trace_float
from toolchain.reference.types import infer_float, verify_float

__all__ = ["fake_quantize", "infer_float", "run_float", "trace_float", "verify_float"]
