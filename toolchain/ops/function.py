"""FUNCTION: a real function of one element by its name, int8 or int16."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from toolchain.errors import ModelError
from toolchain.ir.graph import Operands
from toolchain.ops.base import TensorType, require
from toolchain.ops.lookup import Lookup, Reals

Real = npt.NDArray[np.float64]


class Curve(NamedTuple):
    """A function of one real number.

    Attributes:
        evaluate: called with its values, then its parameters.
        parameters: their names.
    """

    evaluate: Callable[..., Real]
    parameters: tuple[str, ...] = ()


@dataclass(frozen=True)
class Function(Lookup):
    """``CURVES[kind]`` of x, computed in double precision when the table is made.

    Attributes:
        kind: which function.
        parameters: its parameters, finite numbers.
    """

    name: ClassVar[str] = "function"
    kind: str
    parameters: tuple[float, ...] = ()

    def infer(self, operands: Operands) -> tuple[TensorType, ...]:
        """See `Op.infer`."""
        curve = CURVES.get(self.kind)
        if curve is None:
            raise ModelError("E206", f"function: there is no {self.kind}")
        given = len(self.parameters)
        require(given == len(curve.parameters), self, f"{self.kind} has not {given} parameters")
        require(bool(np.isfinite(self.parameters).all()), self, "parameters must be finite")
        return super().infer(operands)

    def real(self, x: Reals) -> Reals:
        """See `Lookup.real`: what is no number becomes 0."""
        with np.errstate(all="ignore"):
            values = CURVES[self.kind].evaluate(x.astype(np.float64), *self.parameters)
            return np.nan_to_num(values, posinf=np.inf, neginf=-np.inf).astype(np.float32)


def _elu(x: Real, alpha: float, scale: float, rate: float) -> Real:
    return np.where(x > 0, scale * x, scale * alpha * np.expm1(rate * np.minimum(x, 0)))


def _softplus(x: Real, beta: float) -> Real:
    return np.asarray(np.logaddexp(0, beta * x) / beta)


def _mish(x: Real) -> Real:
    """Return x times the hyperbolic tangent of softplus (D. Misra, "Mish", 2019)."""
    return np.asarray(x * np.tanh(np.logaddexp(0, x)))


def _shrink(x: Real, threshold: float, bias: float) -> Real:
    return np.where(np.abs(x) > threshold, x - bias * np.sign(x), 0)


def _threshold(x: Real, least: float, other: float) -> Real:
    return np.where(x > least, x, other)


CURVES: Mapping[str, Curve] = {
    "arc_tangent": Curve(np.arctan),
    "ceiling": Curve(np.ceil),
    "cosine": Curve(np.cos),
    "exponential_linear": Curve(_elu, ("alpha", "scale", "rate")),
    "exponential_minus_one": Curve(np.expm1),
    "floor": Curve(np.floor),
    "log_one_plus": Curve(np.log1p),
    "log_sigmoid": Curve(lambda x: -np.logaddexp(0, -x)),
    "mish": Curve(_mish),
    "power": Curve(np.power, ("exponent",)),
    "round": Curve(np.rint),
    "shrink": Curve(_shrink, ("threshold", "bias")),
    "sign": Curve(np.sign),
    "sine": Curve(np.sin),
    "softplus": Curve(_softplus, ("beta",)),
    "softsign": Curve(lambda x: x / (1 + np.abs(x))),
    "tanh_shrink": Curve(lambda x: x - np.tanh(x)),
    "threshold": Curve(_threshold, ("least", "other")),
}
"""Functions by name. `numpy.rint` rounds half to even, as ONNX and PyTorch do."""
