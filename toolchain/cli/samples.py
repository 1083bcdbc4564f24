"""Sample inputs of float networks, with labels where there are any, checked before use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from toolchain.cli.arguments import load_cases
from toolchain.errors import UsageError

if TYPE_CHECKING:
    from toolchain.ir import Array, Tensor

LABELS = ("labels", "label", "y")
_LEAST_SPAN = 0.01  # of what an input represents
_MOST_CLIPPED = 0.25


@dataclass(frozen=True)
class Samples:
    """Cases of one float32 array per input, and their classes.

    Attributes:
        cases: N cases.
        labels: N classes, ``None`` where nobody gave any.
    """

    cases: list[list[Array]]
    labels: Array | None = None


def load_samples(
    path: Path, tensors: Sequence[Tensor], preprocess: str = "", labels: Path | None = None
) -> Samples:
    """Read samples from ``.npz``, ``.npy``, a folder of ``.npy`` or a folder of images.

    Args:
        path: the file or folder. In an ``.npz``, an array of integers named ``labels``, ``label``
            or ``y`` holds classes; images in sub-folders have the sub-folder as class.
        tensors: what each case must look like.
        preprocess: for images, see `toolchain.cli.images.preprocess_steps`.
        labels: ``.npy`` of N integers, in the place of any other.

    Raises:
        UsageError: E101 for a wrong preprocess text, E115 for values that are not finite, E121 if
            nothing can be read, E122 if arrays do not match the tensors.
    """
    samples = _from_folder(path, tensors, preprocess) if path.is_dir() else _file(path, tensors)
    for number, case in enumerate(samples.cases):
        for tensor, values in zip(tensors, case, strict=True):
            _check_finite(number, tensor, values, path)
    if labels is not None:
        samples = Samples(samples.cases, _labels(labels, len(samples.cases)))
    return samples


def _file(path: Path, tensors: Sequence[Tensor]) -> Samples:
    inside = _labels_inside(path, {tensor.name for tensor in tensors})
    cases = load_cases(path, tensors, () if inside is None else LABELS)
    if inside is not None and len(inside) != len(cases):
        raise UsageError("E122", f"{len(inside)} labels for {len(cases)} cases", where=str(path))
    return Samples(cases, inside)


def _labels_inside(path: Path, taken: set[str]) -> Array | None:
    import numpy as np

    if path.suffix != ".npz":
        return None
    try:
        with np.load(path, allow_pickle=False) as loaded:
            for name in LABELS:
                if name in loaded.files and name not in taken and loaded[name].dtype.kind in "iu":
                    return np.asarray(loaded[name]).reshape(-1)
    except (OSError, ValueError, EOFError):
        return None  # `load_cases` says what is wrong
    return None


def _from_folder(path: Path, tensors: Sequence[Tensor], preprocess: str) -> Samples:
    import numpy as np

    from toolchain.cli.images import image_files, preprocess_steps, read_images

    arrays = sorted(path.glob("*.npy"))
    if arrays:
        return Samples([case for file in arrays for case in load_cases(file, tensors)])
    files, classes = image_files(path)
    if not files or len(tensors) != 1:
        raise UsageError("E121", "the folder holds neither .npy files nor images", where=str(path))
    cases = read_images(files, tensors[0], preprocess_steps(preprocess))
    return Samples(cases, None if classes is None else np.array(classes))


def _check_finite(number: int, tensor: Tensor, values: Array, path: Path) -> None:
    import numpy as np

    bad = int(values.size - np.count_nonzero(np.isfinite(values)))
    if bad:
        raise UsageError(
            "E115",
            f'case {number} of "{tensor.name}" holds {bad} values that are not finite '
            "(NaN or infinite)",
            where=str(path),
        )


def _labels(path: Path, count: int) -> Array:
    import numpy as np

    try:
        classes = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UsageError("E121", f"cannot read labels: {error}", where=str(path)) from None
    is_list = isinstance(classes, np.ndarray) and classes.shape == (count,)
    if not is_list or classes.dtype.kind not in "iu":
        raise UsageError("E122", f"{count} integers are needed as labels", where=str(path))
    return np.asarray(classes)


def check_values_differ(
    tensors: Sequence[Tensor], cases: Sequence[Sequence[Array]], path: Path
) -> None:
    """Raise E115 if no input ever takes a second value: such samples tell nothing of its range."""
    for place, tensor in enumerate(tensors):
        first = cases[0][place].reshape(-1)[0]
        if tensor.size > 1 and any((case[place] != first).any() for case in cases):
            return
    if all(tensor.size == 1 for tensor in tensors):
        return
    names = ", ".join(f'"{tensor.name}"' for tensor in tensors)
    raise UsageError(
        "E115",
        f"all values of {names} are {cases[0][0].reshape(-1)[0]:g} in all samples",
        where=str(path),
        hints=["give samples as the network will see them"],
    )


def check_range(tensors: Sequence[Tensor], cases: Sequence[Sequence[Array]], path: Path) -> None:
    """Raise E124 if real inputs lie far from what quantised inputs represent.

    Args:
        tensors: quantised inputs.
        cases: real values.
        path: where they come from.
    """
    import numpy as np

    for place, tensor in enumerate(tensors):
        if tensor.quant is None:
            continue
        low, high = ((q - tensor.zero_point) * tensor.scale for q in tensor.dtype.limits)
        values = np.stack([case[place] for case in cases])
        margin = (high - low) / 100
        clipped = float(((values < low - margin) | (values > high + margin)).mean())
        span = float(values.max() - values.min())
        if clipped > _MOST_CLIPPED or span < _LEAST_SPAN * (high - low):
            raise UsageError(
                "E124",
                f'values from {values.min():g} to {values.max():g}, but "{tensor.name}" stands '
                f"for {low:g} to {high:g}: were they prepared as those of the calibration?",
                where=str(path),
                numbers={"clipped_share": clipped},
            )
