"""Arguments that several verbs share, and the arrays they read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from toolchain.errors import UsageError

if TYPE_CHECKING:
    from toolchain.ir import Array, Tensor

_Decorator = Callable[[Any], Any]


def model_argument() -> _Decorator:
    """Return the MODEL argument: a path to a model file."""
    return click.argument("model", type=click.Path(path_type=Path))


def project_argument() -> _Decorator:
    """Return the DIR argument: a generated project."""
    return click.argument("project", metavar="DIR", type=click.Path(path_type=Path))


def board_option(*, required: bool = False) -> _Decorator:
    """Return ``--board``: an id of ``tessera boards`` or a TOML file."""
    return click.option("--board", "-b", metavar="ID", required=required, help="Target board.")


def input_options() -> _Decorator:
    """Return ``--shape`` and ``--constant``: what an ONNX file leaves open of its inputs."""
    shape = click.option(
        "--shape", "shapes", multiple=True, metavar="NAME=N,N", help="Shape of an open input."
    )
    constant = click.option(
        "--constant", "constants", multiple=True, metavar="NAME=X", help="Value of a fixed input."
    )
    return lambda command: shape(constant(command))


def input_shapes(given: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of ``NAME=N,N`` by name; raise E101 for anything else."""
    try:
        pairs = [text.split("=", 1) for text in given]
        return {name: tuple(int(size) for size in sizes.split(",")) for name, sizes in pairs}
    except ValueError:
        raise UsageError("E101", "--shape needs NAME=N,N with whole numbers") from None


def input_constants(given: Sequence[str]) -> dict[str, float]:
    """Return the values of ``NAME=X`` by name; raise E101 for anything else."""
    try:
        return {name: float(value) for name, value in (text.split("=", 1) for text in given)}
    except ValueError:
        raise UsageError("E101", "--constant needs NAME=X with a number") from None


def load_cases(
    path: Path, tensors: Sequence[Tensor], ignored: Sequence[str] = ()
) -> list[list[Array]]:
    """Read cases of a network's inputs or outputs from ``.npy`` or ``.npz``.

    Args:
        path: one array (N, *shape) for one tensor; for several, an ``.npz`` that holds one array
            per tensor, by the tensor's name or in order.
        tensors: what each case must look like; the batch axis of size 1 may be left out.
        ignored: names of arrays that are no tensors of the network, such as labels.

    Returns:
        N cases of one array per tensor.

    Raises:
        UsageError: E121 if the file cannot be read, E122 if arrays do not match the tensors.
    """
    arrays = _read(path, [tensor.name for tensor in tensors], ignored)
    if len(arrays) != len(tensors):
        raise UsageError(
            "E122", f"{len(tensors)} arrays are needed, the file has {len(arrays)}", where=str(path)
        )
    shaped = [_shaped(a, t, path) for a, t in zip(arrays, tensors, strict=True)]
    if len({len(array) for array in shaped}) != 1:
        raise UsageError("E122", "the arrays hold different numbers of cases", where=str(path))
    return [list(case) for case in zip(*shaped, strict=True)]


def random_cases(tensors: Sequence[Tensor], count: int, seed: int) -> list[list[Array]]:
    """Return ``count`` cases of random inputs: full range for integers, normal for floats."""
    import numpy as np

    rng = np.random.default_rng(seed)
    return [[_random(tensor, rng) for tensor in tensors] for _ in range(count)]


def _random(tensor: Tensor, rng: Any) -> Array:
    import numpy as np

    if tensor.dtype.numpy.kind == "f":
        return np.asarray(rng.normal(0, 1, tensor.shape), np.float32)
    low, high = tensor.dtype.limits
    return np.asarray(rng.integers(low, high, tensor.shape, tensor.dtype.numpy, endpoint=True))


def _read(path: Path, names: Sequence[str], ignored: Sequence[str]) -> list[Array]:
    import numpy as np

    try:
        loaded = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        why = (getattr(error, "strerror", None) or str(error)).lower()
        raise UsageError("E121", f"cannot read arrays: {why}", where=str(path)) from None
    if isinstance(loaded, np.ndarray):
        return [loaded]
    with loaded:
        if set(names) <= set(loaded.files):
            return [loaded[name] for name in names]
        return [loaded[name] for name in loaded.files if name not in ignored]


def _shaped(array: Array, tensor: Tensor, path: Path) -> Array:
    dtype, shape = tensor.dtype.numpy, tensor.shape
    without_batch = shape[1:] if shape[:1] == (1,) else shape
    if array.shape[1:] not in (shape, without_batch) or array.dtype != dtype or not len(array):
        raise UsageError(
            "E122",
            f'"{tensor.name}" needs an array {dtype}[N, {", ".join(map(str, shape))}], '
            f"not {array.dtype}{list(array.shape)}",
            where=str(path),
        )
    return array.reshape(len(array), *shape)
