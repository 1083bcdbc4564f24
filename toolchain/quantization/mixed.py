"""Mixed precision by sensitivity: int16 for those activations whose rounding costs most.

The noise that each activation's rounding to int8 alone makes at the outputs is measured, with the
rest of the network in float. Noise from different places is nearly independent, so it adds up: with
what rounded weights make, and without what 16 bits remove, it predicts the noise of every choice;
how many of the dearest to lift is then searched with measured noise, from that prediction on. It is
measured on samples that are kept back from calibration, with room for those that nobody has seen.

Reference: Z. Dong et al., "HAWQ-V2", NeurIPS 2020, section 3, for a sum of independent
sensitivities, here measured instead of derived from second moments.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from toolchain.errors import FitError
from toolchain.ir import Array, Graph, run
from toolchain.quantization.activations import shared_sets
from toolchain.quantization.calibrate import Cases, calibrate
from toolchain.quantization.grids import Grids, choose_grids
from toolchain.quantization.quantizer import prepare, quantize_ready
from toolchain.quantization.ranges import METHODS, minmax
from toolchain.quantization.report import integer_case, real_values
from toolchain.quantization.wide import Ready
from toolchain.reference import run_float, trace_float
from toolchain.reference.operators import evaluate

_CASES = 8  # that sensitivities are measured on
_KEPT_BACK = 32  # cases at most,
_SHARE = 4  # one in four,
_FEWEST = 16  # of so many at least: ranges come first
_TRIES = 5

_TINY = float(np.finfo(np.float64).tiny)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Mixed:
    """A network in mixed precision.

    Attributes:
        ready: the float graph that was rounded, with the names of its int16 activations.
        graph: the integer graph.
        sqnr_db: signal to noise ratio of its worst output on cases that are kept back.
        cautious_db: that less one standard error (jackknife), as others may have less.
        calibration_db: the ratio on some of the cases that it was calibrated on.
        kept_back: how many cases were; 0 if there were too few, and all ratios are of the cases
            that it was calibrated on.
    """

    ready: Ready
    graph: Graph
    sqnr_db: float
    cautious_db: float
    calibration_db: float
    kept_back: int


def quantize_mixed(
    graph: Graph,
    cases: Cases,
    target_db: float,
    method: str = "minmax",
    *,
    int4: Collection[str] = (),
    equalize: bool = True,
    rounding: str = "reconstruct",
) -> Mixed:
    """Return the integer graph with as few int16 activations as ``target_db`` needs.

    Args:
        graph: a float graph.
        cases: sample inputs; of 16 or more, one in four is kept back to measure noise on.
        target_db: signal to quantisation noise ratio that every output shall have, with
            one standard error to spare if int16 for all activations has that much.
        method: how ranges of int8 are chosen.
        int4: as in `toolchain.quantization.quantize`.
        equalize: as in `toolchain.quantization.quantize`.
        rounding: as in `toolchain.quantization.quantize`.

    Raises:
        FitError: E308 if int16 for all activations is not enough.
        UsageError, ModelError: as `toolchain.quantization.quantize`.
    """
    cases, apart = _parted(cases)
    few, tested = _some(cases, _CASES), apart or _some(cases, _CASES)

    def made(**chosen: Any) -> Mixed:
        ready = prepare(graph, cases, int4=int4, equalize=equalize, **chosen)
        quantised = quantize_ready(ready, cases, method, rounding=rounding)
        noise = _noises(ready.graph, quantised, tested)
        return Mixed(
            ready,
            quantised,
            _decibels(noise.ratios()),
            _decibels(noise.ratios() + noise.standard_errors()),
            _decibels(_noises(ready.graph, quantised, few).ratios()),
            len(apart),
        )

    narrow = made()
    if narrow.cautious_db >= target_db:
        return narrow
    whole = made(activations="int16")
    if whole.sqnr_db < target_db:
        raise _out_of_reach(target_db, whole.sqnr_db)
    names, costs = sensitivities(graph, cases, few, method, equalize=equalize)
    floor, most = (_noises(one.ready.graph, one.graph, few).ratios() for one in (whole, narrow))
    # Fitted weights make up for some of it, for all activations by a like share.
    costs *= (most - floor).clip(0) / costs.sum(axis=0).clip(_TINY)
    first = max(1, _enough(floor, costs, 10 ** (-target_db / 10)))
    spare = whole.cautious_db >= target_db  # else no choice has one standard error to spare

    def suffices(mixed: Mixed) -> bool:
        return (mixed.cautious_db if spare else mixed.sqnr_db) >= target_db

    return _fewest(lambda count: made(int16=names[:count]), suffices, first, len(names)) or whole


def _out_of_reach(target_db: float, reached_db: float) -> FitError:
    return FitError(
        "E308",
        f"{target_db:g} dB are out of reach: int16 for all activations gives {reached_db:.1f} dB",
        numbers={"target_db": target_db, "reached_db": reached_db},
        hints=[f"--mixed {math.floor(reached_db)}"],
    )


def _fewest(
    made: Callable[[int], Mixed], suffices: Callable[[Mixed], bool], first: int, every: int
) -> Mixed | None:
    """Return what suffices with the fewest int16 activations found, fewer than ``every``."""
    too_few, enough, count, best = 0, every, first, None
    for _ in range(_TRIES):
        if enough - too_few <= 1 or count == enough:
            break
        mixed = made(count)
        if suffices(mixed):
            best, enough = mixed, count
        else:
            too_few = count
        count = (too_few + enough) // 2
    return best


def sensitivities(
    graph: Graph, cases: Cases, few: Cases, method: str, *, equalize: bool
) -> tuple[list[str], Floats]:
    """Return what the activations' rounding to int8 costs, the dearest first.

    Args:
        graph: a float graph.
        cases: for the ranges.
        few: to measure noise on.
        method: how ranges are chosen.
        equalize: whether channels are brought to like ranges first.

    Returns:
        A layer or input for every set of activations that share a quantisation, and the noise to
        signal ratio of every graph output, shape (sets, outputs).
    """
    ready = prepare(graph, cases, equalize=equalize).graph
    grids = choose_grids(
        ready, calibrate(ready, cases, histograms=METHODS[method] is not minmax), METHODS[method]
    )
    sets = shared_sets(ready)
    noise, signal = np.zeros((len(sets), len(ready.outputs))), np.zeros(len(ready.outputs))
    for case in few:
        real = trace_float(ready, case)
        signal += [_energy(real[name]) for name in ready.outputs]
        for row, names in zip(noise, sets, strict=True):
            changed = _disturbed(ready, real, frozenset(names), grids)
            row += [_energy(changed.get(n, real[n]) - real[n]) for n in ready.outputs]
    ratios: Floats = noise / np.maximum(signal, _TINY)
    order = np.argsort(-ratios.max(axis=1), kind="stable")
    makers = {name: node.name for node in ready.nodes for name in node.outputs}
    labels = [makers.get(names[0], names[0]) for names in sets]
    return [labels[index] for index in order], ratios[order]


def _disturbed(
    graph: Graph, real: Mapping[str, Array], names: frozenset[str], grids: Grids
) -> dict[str, Array]:
    """Return the values that change when the activations ``names`` are rounded."""
    changed = {n: grids.rounded(n, real[n]) for n in graph.inputs if n in names}
    for node in graph.nodes:
        moved = any(name in changed for name in node.inputs)
        if not moved and names.isdisjoint(node.outputs):
            continue
        results: Sequence[Array] = [real[name] for name in node.outputs]
        if moved:
            given = [None if n is None else changed.get(n, real[n]) for n in node.inputs]
            results = evaluate(node.op, graph.operands(node), given)
        for name, values in zip(node.outputs, results, strict=True):
            changed[name] = grids.rounded(name, values) if name in names else values
    return changed


def _enough(floor: Floats, costs: Floats, allowed: float) -> int:
    """Return how many of the dearest sets must go for the rest to stay within ``allowed``."""
    left = floor + np.cumsum(costs[::-1], axis=0)[::-1]  # of the sets from each one on
    return int(np.count_nonzero(left.max(axis=1) > allowed))


@dataclass(frozen=True, eq=False)
class _Noises:
    """Energies of noise and signal of every case at every output, shape (cases, outputs)."""

    noise: Floats
    signal: Floats

    def ratios(self) -> Floats:
        """Return the noise to signal ratio of every output over all cases."""
        ratios: Floats = self.noise.sum(axis=0) / np.maximum(self.signal.sum(axis=0), _TINY)
        return ratios

    def standard_errors(self) -> Floats:
        """Return the standard errors of the ratios (jackknife), zero for a single case."""
        count = len(self.noise)
        signal = np.maximum(self.signal.sum(axis=0) - self.signal, _TINY)
        without = (self.noise.sum(axis=0) - self.noise) / signal
        spread = np.square(without - without.mean(axis=0)).sum(axis=0)
        errors: Floats = np.sqrt((count - 1) / count * spread)
        return errors


def _noises(graph: Graph, quantised: Graph, cases: Cases) -> _Noises:
    """Return the noise of an integer graph."""
    noise, signal = np.zeros((2, len(cases), len(graph.outputs)))
    for number, case in enumerate(cases):
        made = run(quantised, integer_case(quantised, case))
        for place, real in enumerate(run_float(graph, case)):
            got = real_values(quantised.output_tensors[place], made[place])
            noise[number, place] = _energy(got - real)
            signal[number, place] = _energy(real)
    return _Noises(noise, signal)


def _parted(cases: Cases) -> tuple[Cases, Cases]:
    """Return cases to calibrate on, and those kept back."""
    if len(cases) < _FEWEST:
        return cases, []
    places = set(range(0, len(cases), max(_SHARE, -(-len(cases) // _KEPT_BACK))))
    return (
        [case for place, case in enumerate(cases) if place not in places],
        [case for place, case in enumerate(cases) if place in places],
    )


def _some(cases: Cases, count: int) -> Cases:
    return cases[:: max(1, len(cases) // count)][:count]


def _energy(values: Array) -> float:
    flat = np.asarray(values, np.float64).reshape(-1)
    return float(flat @ flat)


def _decibels(ratios: Floats) -> float:
    worst = float(ratios.max())
    return -10 * math.log10(worst) if worst > 0 else math.inf
