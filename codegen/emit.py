"""``emit``: a graph and its plan become text, path by path. Nothing is written here."""

from __future__ import annotations

import itertools
from importlib import resources

from codegen.model import CModel, build_model
from codegen.render import render
from codegen.sharing import kernels
from toolchain.ir.graph import Graph
from toolchain.plan.plan import Plan

SUPPORT = ("tsr_math.h", "tsr_fixed.h", "tsr_float.h")
# What kernels include, by the end of their template's name: their header and those that it needs.
_HEADERS = {
    "_dsp": ("tsr_dsp.h", "tsr_dot.h", "tsr_lanes.h", "tsr_output.h"),
    "_apart_dsp": ("tsr_apart_dsp.h",),
    "_parts_dsp": ("tsr_parts_dsp.h",),
    "_mve": (
        "tsr_mve.h",
        "tsr_mve_vector.h",
        "tsr_mve_dot.h",
        "tsr_mve_map.h",
        "tsr_mve_taps.h",
    ),
    "_runs": ("tsr_runs.h", "tsr_output.h"),
    "softmax_float": ("tsr_exp_log.h",),
    "_16": ("tsr_wide.h",),
    "_16_dsp": ("tsr_wide.h",),
    "_16x8": ("tsr_wide.h",),
    "_w4": ("tsr_nibble.h",),
    "_w4_dsp": ("tsr_nibble_dsp.h",),
    "_16x8_dsp": ("tsr_wide_dsp.h", "tsr_wide.h"),
}


def emit(
    graph: Graph, plan: Plan, prefix: str = "model", *, instances: bool = False
) -> dict[str, str]:
    """Return the C library of ``graph`` executed as ``plan`` says: ``{path: text}``.

    The same graph and plan give the same bytes: no dates, no absolute paths.

    Args:
        graph: a verified integer graph.
        plan: a checked plan of that graph.
        prefix: C identifier that starts every public name, so that one firmware can hold several
            networks.
        instances: the arena is the caller's, one per thread or several, instead of one static
            array: for computers with threads.
    """
    model = build_model(graph, plan, prefix)
    headers = _headers(model)
    included = [names[0] for names in headers]
    values = {"m": model, "p": prefix, "P": prefix.upper(), "headers": included}
    values["instances"] = instances
    image = (
        {f"include/{prefix}_image.h": render("model/image.h.j2", **values)} if model.pull else {}
    )
    return {
        f"include/{prefix}.h": render("model/model.h.j2", **values),
        **image,
        f"src/{prefix}.c": render("model/model.c.j2", **values),
        f"src/{prefix}_kernels.h": render(
            "model/kernels.h.j2", kernels=kernels(model.functions), **values
        ),
        f"src/{prefix}_weights.h": render("model/weights.h.j2", **values),
        f"src/{prefix}_weights.c": render("model/weights.c.j2", **values),
        **{f"src/{name}": support(name) for name in (*SUPPORT, *itertools.chain(*headers))},
    }


def support(name: str) -> str:
    """Return a file of the fixed C support code."""
    return (resources.files("runtimes.mcu") / name).read_text(encoding="utf-8")


def _headers(model: CModel) -> list[tuple[str, ...]]:
    templates = {function.template for function in model.functions}
    return [names for end, names in _HEADERS.items() if any(t.endswith(end) for t in templates)]
