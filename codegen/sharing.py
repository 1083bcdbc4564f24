"""Kernels of several layers as one C function: numbers in which the layers differ become a shape.

A kernel with literals is the fastest, but every layer then has its own. Numbers that a template
only prints or computes with may vary without another text: functions that agree in all others
become one, which reads what differs from a constant struct, once per call. A function that has no
such sibling keeps its literals.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import NoReturn

from codegen.call import Function
from codegen.render import render
from toolchain.ops.base import Number


def _free(varies: str, nonzero: str = "", steps: str = "") -> dict[str, tuple[int, ...]]:
    """Return the numbers that may vary, each with the values that stay literals."""
    kinds: tuple[tuple[str, tuple[int, ...]], ...] = (
        (varies, ()),
        (nonzero, (0,)),
        (steps, (0, 1)),
    )
    return {path: literals for paths, literals in kinds for path in paths.split()}


# By template: paths of numbers, in which * stands for any place in a tuple; `helpers` are the names
# of the functions that a kernel calls.
FREE: Mapping[str, Mapping[str, tuple[int, ...]]] = {
    "affine": _free("slopes.* offset", steps="loops.*"),
    "affine_mve": _free("slopes.* offset", steps="loops.*"),
    "conv1x1_mve": _free("in_c out_c scalar helpers.*", nonzero="pairs"),
    "conv2d_runs": _free("in_w in_c out_w out_c odd_zero"),
    "depthwise_conv2d": _free("in_w in_c out_w"),
    "depthwise_conv2d_dsp": _free(
        "in_c x_zero odd_zero rows in_rows row_words words taps out_w helpers.*",
        nonzero="first pairs",
    ),
    "depthwise_conv2d_mve": _free(
        "in_w in_c out_w pad_left stride_w first last inside at out step scalar"
    ),
    "depthwise_pairs_dsp": _free(
        "in_c zeros row_words words columns taps out_w helpers.*", nonzero="first"
    ),
    "depthwise_rolling_dsp": _free("x_pair odd_zero"),
    "mean": _free("kept.*.0 reduced.*.0 offset multiplier shift y_zero", steps="reduced.*.1"),
    "mean_dsp": _free("channels count multiplier shift y_zero", nonzero="offset"),
    "mean_mve": _free("count offset multiplier shift y_zero"),
    "mul": {
        **_free("y_scale.0", nonzero="zero.* y_zero", steps="loops.*"),
        "y_scale.1": (*range(-31, -23), *range(32)),
    },
    "mul_mve": _free("y_scale.* y_zero", nonzero="zero.*", steps="loops.*"),
    "table": _free("size"),
}
# C types of functions that are called by pointer, by the start of their names.
_POINTERS = {
    "plane_dsp": "tsr_plane",
    "row_pairs_dsp": "tsr_row_pairs",
    "matmul_mve": "tsr_mve_matmul",
}
_RANGES = (("uint16_t", 0, 2**16 - 1), ("int16_t", -(2**15), 2**15 - 1))


class Variable:
    """A number of the shape: arithmetic in a template becomes arithmetic in C.

    It is known not to be one of its ``literals``, and nothing else: other comparisons raise
    TypeError.
    """

    def __init__(self, text: str, literals: Sequence[int] = ()) -> None:
        self._text = text
        self._literals = literals

    def __str__(self) -> str:
        return self._text

    def __bool__(self) -> bool:
        return self != 0

    def __eq__(self, other: object) -> bool:
        if other in self._literals:
            return False
        raise TypeError(f"{self} is compared with {other}: it may vary")

    __hash__ = None  # type: ignore[assignment]

    def __add__(self, other: object) -> Variable:
        return Variable(f"({self} + {other})")

    def __radd__(self, other: object) -> Variable:
        return Variable(f"({other} + {self})")

    def __sub__(self, other: object) -> Variable:
        return Variable(f"({self} - {other})")

    def __rsub__(self, other: object) -> Variable:
        return Variable(f"({other} - {self})")

    def __mul__(self, other: object) -> Variable:
        return Variable(f"{self} * {other}")

    def __rmul__(self, other: object) -> Variable:
        return Variable(f"{other} * {self}")

    def __neg__(self) -> Variable:
        return Variable(f"-{self}")

    def __lt__(self, other: object) -> NoReturn:
        raise TypeError(f"{self} is compared with {other}: it may vary")

    __gt__ = __le__ = __ge__ = __lt__


@dataclass(frozen=True)
class Sharing:
    """What a template prints where its function takes a shape; nothing where it does not."""

    shape: str = ""

    @property
    def static(self) -> str:
        """Return how the function begins."""
        return "static TSR_SHARED void" if self.shape else "static void"

    @property
    def parameter(self) -> str:
        """Return the shape's parameter, the first one."""
        return f"const {self.shape} *shape, " if self.shape else ""

    @property
    def argument(self) -> str:
        """Return the argument that hands it on."""
        return "shape, " if self.shape else ""

    @property
    def read(self) -> str:
        """Return the statement that reads it: stores through pointers could change it."""
        return f"\n    const {self.shape} n = *shape;" if self.shape else ""


def kernels(functions: Sequence[Function]) -> list[str]:
    """Return the C text of all functions, in an order in which none is used before its own."""
    groups: dict[object, list[Function]] = {}
    for function in functions:
        groups.setdefault(_fixed(function), []).append(function)
    shared = {key: _Shared(users) for key, users in groups.items() if len(users) > 1}
    texts = []
    for function in functions:
        group = shared.get(_fixed(function))
        if group is None:
            texts.append(_text(function, function.name, function.numbers, function.helpers))
            continue
        if function is group.users[0]:
            texts.append(group.text)
        texts.append(group.call(function))
    return texts


class _Shared:
    """One function for several; ``users`` differ in free numbers only."""

    def __init__(self, users: Sequence[Function]) -> None:
        self.users = users
        self.name = f"{users[0].name}_shared"
        self.type = f"{users[0].name}_shape"
        found = [dict(_leaves(_numbers(user))) for user in users]
        self.values = {path: [leaves[path] for leaves in found] for path in found[0]}
        self.fields = [path for path, values in self.values.items() if len(set(values)) > 1]

    @cached_property
    def text(self) -> str:
        """Return the shape's type and the function."""
        first = self.users[0]
        names = {
            path: Variable(f"n.{_field(path)}", _literals(first.template, path) or ())
            for path in self.fields
        }
        numbers = {key: _replaced(value, key, names) for key, value in _numbers(first).items()}
        helpers = numbers.pop("helpers")
        fields = "".join(f"    {self._type(path)}{_field(path)};\n" for path in self.fields)
        body = _text(first, self.name, numbers, helpers, Sharing(self.type))
        return f"typedef struct {{\n{fields}}} {self.type};\n\n{body}"

    def call(self, user: Function) -> str:
        """Return the function of one user: a call with its shape."""
        signature = re.search(rf"\b{self.name}\(([^()]*)\)\n\{{", self.text)
        assert signature is not None, "a kernel is a function of its own name"
        parameters = signature[1].split(",", 1)[1].strip()
        names = ", ".join(re.findall(r"(\w+)\s*(?:,|$)", parameters))
        leaves = dict(_leaves(_numbers(user)))
        values = ", ".join(f".{_field(path)} = {leaves[path]}" for path in self.fields)
        return (
            f"static void {user.name}({parameters})\n{{\n"
            f"    static const {self.type} shape = {{{values}}};\n"
            f"    {self.name}(&shape, {names});\n}}"
        )

    def _type(self, path: str) -> str:
        values = self.values[path]
        numbers = [value for value in values if isinstance(value, int)]
        if len(numbers) < len(values):
            return (
                next(t for start, t in _POINTERS.items() if str(values[0]).startswith(start)) + " *"
            )
        fits = (t for t, low, high in _RANGES if low <= min(numbers) and max(numbers) <= high)
        return next(fits, "int32_t") + " "


def _numbers(function: Function) -> dict[str, Number]:
    return {**function.numbers, "helpers": function.helpers}


def _leaves(value: Mapping[str, Number]) -> Iterator[tuple[str, Number]]:
    for key, number in value.items():
        if isinstance(number, tuple):
            for path, leaf in _leaves({str(i): part for i, part in enumerate(number)}):
                yield f"{key}.{path}", leaf
        else:
            yield key, number


def _replaced(value: Number, path: str, names: Mapping[str, Variable]) -> object:
    if isinstance(value, tuple):
        return tuple(_replaced(part, f"{path}.{i}", names) for i, part in enumerate(value))
    return names.get(path, value)


def _fixed(function: Function) -> object:
    """Return all in which functions must agree to become one."""
    fixed = tuple(
        (path, None if _varies(function.template, path, value) else value)
        for path, value in _leaves(_numbers(function))
    )
    return function.template, fixed, function.inputs, function.outputs


def _varies(template: str, path: str, value: Number) -> bool:
    literals = _literals(template, path)
    return literals is not None and not isinstance(value, bool) and value not in literals


def _literals(template: str, path: str) -> tuple[int, ...] | None:
    """Return the values of a number that stay literals, ``None`` if all do."""
    free = FREE.get(template, {})
    return next((free[pattern] for pattern in free if fnmatchcase(path, pattern)), None)


def _field(path: str) -> str:
    return path.replace("helpers.", "helper").replace(".", "_")


def _text(
    function: Function,
    name: str,
    numbers: Mapping[str, object],
    helpers: object,
    sharing: Sharing | None = None,
) -> str:
    return render(
        f"kernels/{function.template}.c.j2",
        name=name,
        n=numbers,
        x=function.inputs,
        y=function.outputs,
        helpers=helpers,
        shared=sharing or Sharing(),
    ).strip("\n")
