"""Where a network loses accuracy, layer by layer, and what would help."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from toolchain.ir import DType, Graph, Node
from toolchain.quantization.calibrate import Statistics
from toolchain.quantization.ranges import percentile
from toolchain.quantization.report import LayerError

_CLEAN_DB = 60.0  # beyond which noise does not matter
_LOSSY_DB = 6.0  # a layer that halves the precision of what it is given
_POOR_DB = 20.0
_OUTLIER = 4.0


@dataclass(frozen=True)
class LayerAdvice:
    """One layer's share of the loss.

    Attributes:
        error: of its output.
        shape: of its output.
        lost_db: signal to noise ratio of its worst input less that of its output, or of what its
            readers make of it where that is better: they may not hear what is clipped.
        range: least and greatest value of its output in calibration.
        outliers: that range over the one that holds 99.98 % of the values that are not zero.
        advice: what would help, empty where nothing is wrong.
    """

    error: LayerError
    shape: tuple[int, ...]
    lost_db: float
    range: tuple[float, float]
    outliers: float
    advice: str


def advise(
    graph: Graph, errors: Sequence[LayerError], statistics: Mapping[str, Statistics]
) -> list[LayerAdvice]:
    """Return every layer with what is known about its loss, in the order of ``errors``.

    Args:
        graph: the float graph.
        errors: of its tensors (`toolchain.quantization.compare_layers`).
        statistics: of its tensors (`toolchain.quantization.calibrate`).
    """
    known = _heard(graph, {error.tensor: min(error.sqnr_db, _CLEAN_DB) for error in errors})
    return [_advised(graph, error, known, statistics[error.tensor]) for error in errors]


def summary(layers: Sequence[LayerAdvice], outputs: Sequence[str]) -> list[str]:
    """Return what would help the network as a whole, most effective first."""
    found = []
    poor = [one for one in layers if one.error.tensor in outputs and one.error.sqnr_db < _POOR_DB]
    lossy = sorted((one for one in layers if one.lost_db > _LOSSY_DB), key=lambda x: -x.lost_db)
    if poor and any(one.error.dtype is DType.INT8 for one in layers):
        names = ", ".join(f'"{one.error.tensor}"' for one in lossy[:3])
        where = f"; most is lost at {names}" if names else ""
        found.append(f"outputs are below {_POOR_DB:.0f} dB: try --mixed {_POOR_DB:.0f}{where}")
    wide = [one for one in layers if one.outliers > _OUTLIER]
    if wide:
        found.append(
            f"{len(wide)} tensors have rare values far outside the others: "
            "try --method percentile or --method mse"
        )
    return found or ["nothing stands out"]


def _heard(graph: Graph, known: Mapping[str, float]) -> dict[str, float]:
    """Return signal to noise ratios as readers hear them: what they clip themselves is no loss."""
    found = dict(known)
    for name in reversed([*known]):
        made = [y for reader in graph.consumers[name] for y in reader.outputs]
        if made and name not in graph.sinks and all(y in found for y in made):
            found[name] = max(found[name], min(found[y] for y in made))
    return found


def _advised(
    graph: Graph, error: LayerError, known: Mapping[str, float], seen: Statistics
) -> LayerAdvice:
    node = graph.producers.get(error.tensor)
    inputs = [known[name] for name in (node.inputs if node else ()) if name and name in known]
    lost = min(inputs, default=_CLEAN_DB) - known[error.tensor]
    outliers = _outliers(seen)
    return LayerAdvice(
        error,
        graph.tensors[error.tensor].shape,
        lost,
        (seen.low, seen.high),
        outliers,
        _advice(lost, outliers, error, node),
    )


def _outliers(seen: Statistics) -> float:
    kept = percentile(seen)
    width, all_of_it = kept.high - kept.low, seen.high - seen.low
    return all_of_it / width if width > 0 else 1.0


def _advice(lost: float, outliers: float, error: LayerError, node: Node | None) -> str:
    if outliers > _OUTLIER:
        return f"the range is {outliers:.0f} times that of nearly all values: clip it"
    narrow = error.dtype is DType.INT8 and math.isfinite(error.sqnr_db)
    if lost > _LOSSY_DB and narrow and node is not None:
        return f"lift to 16 bits: --int16 '{node.name}'"
    return ""
