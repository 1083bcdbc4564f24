"""``emit``: a graph and its plan become text, path by path. Nothing is written here."""

from __future__ import annotations

from importlib import resources

from codegen.model import CModel, build_model
from codegen.render import render
from toolchain.ir.graph import Graph
from toolchain.plan.plan import Plan

SUPPORT = ("tsr_math.h", "tsr_fixed.h", "tsr_float.h")


def emit(graph: Graph, plan: Plan, prefix: str = "model") -> dict[str, str]:
    """Return the C library of ``graph`` executed as ``plan`` says: ``{path: text}``.

    The same graph and plan give the same bytes: no dates, no absolute paths.

    Args:
        graph: a verified integer graph.
        plan: a checked plan of that graph.
        prefix: C identifier that starts every public name, so that one firmware can hold several
            networks.
    """
    model = build_model(graph, plan, prefix)
    dsp = any(function.template.endswith("_dsp") for function in model.functions)
    exp_log = any(function.template.endswith("softmax_float") for function in model.functions)
    values = {"m": model, "p": prefix, "P": prefix.upper(), "dsp": dsp, "exp_log": exp_log}
    return {
        f"include/{prefix}.h": render("model/model.h.j2", **values),
        f"src/{prefix}.c": render("model/model.c.j2", **values),
        f"src/{prefix}_kernels.h": render("model/kernels.h.j2", kernels=_kernels(model), **values),
        f"src/{prefix}_weights.h": render("model/weights.h.j2", **values),
        f"src/{prefix}_weights.c": render("model/weights.c.j2", **values),
        **{f"src/{name}": support(name) for name in SUPPORT},
        **({"src/tsr_dsp.h": support("tsr_dsp.h")} if dsp else {}),
        **({"src/tsr_exp_log.h": support("tsr_exp_log.h")} if exp_log else {}),
    }


def support(name: str) -> str:
    """Return a file of the fixed C support code."""
    return (resources.files("runtimes.mcu") / name).read_text(encoding="utf-8")


def _kernels(model: CModel) -> list[str]:
    return [
        render(
            f"kernels/{function.template}.c.j2",
            name=function.name,
            n=function.numbers,
            x=function.inputs,
            y=function.outputs,
            helpers=function.helpers,
        ).strip("\n")
        for function in model.functions
    ]
