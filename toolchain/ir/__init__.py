"""The typed intermediate representation: immutable graphs, their checker and interpreter."""

from toolchain.ir.graph import Graph, Node, Operands, State
from toolchain.ir.interpret import Session, run, trace
from toolchain.ir.tensor import Array, DType, Quant, Tensor, constant
from toolchain.ir.verify import verify

__all__ = [
    "Array",
    "DType",
    "Graph",
    "Node",
    "Operands",
    "Quant",
    "Session",
    "State",
    "Tensor",
    "constant",
    "run",
    "trace",
    "verify",
]
