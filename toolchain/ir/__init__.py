"""The typed intermediate representation: immutable graphs, their checker and interpreter."""

from toolchain.ir.graph import Graph, Node, Operands
from toolchain.ir.interpret import run, trace
from toolchain.ir.tensor import Array, DType, Quant, Tensor, constant
from toolchain.ir.verify import verify

__all__ = [
    "Array",
    "DType",
    "Graph",
    "Node",
    "Operands",
    "Quant",
    "Tensor",
    "constant",
    "run",
    "trace",
    "verify",
]
