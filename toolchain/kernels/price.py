"""What portable kernels take that walk over elements: a price per element."""

from __future__ import annotations

from toolchain.ops.base import Lowered

# Instructions per output, counted as in `toolchain.kernels.cost`.
_PRICES = {
    "affine": 8.0, "add": 17.0, "mul": 14.0, "table": 4.0, "quantize": 19.0, "dequantize": 8.0,
    "requantize": 10.0,
}  # fmt: skip


def elements(lowered: Lowered) -> int:
    """Estimate the instructions of a portable kernel; 0 if nothing is known of it."""
    price, numbers = _PRICES.get(lowered.kernel, 0.0), lowered.numbers
    match numbers.get("size"), numbers.get("loops"):
        case int(size), _:
            return round(price * size)
        case _, tuple(loops):
            return round(price * _product(loops))
    return 0


def _product(loops: tuple[object, ...]) -> int:
    """Return the rounds of all loops together; each is a tuple that starts with its own."""
    rounds = 1
    for loop in loops:
        match loop:
            case (int(count), *_):
                rounds *= count
    return rounds
