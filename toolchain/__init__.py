"""The compiler: graph IR, operators, importers, passes, planner and command line.

What programs call stands in `toolchain.api` and is reached from here: ``toolchain.quantize``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from toolchain.api import (
        compare_layers,
        compile,  # noqa: A004  the verb's name
        fake_quantised,
        finetune,
        import_float,
        import_model,
        import_torch,
        quantize,
        run,
        run_float,
        save_tflite,
    )

__version__ = "0.1.0"

__all__ = [
    "compare_layers",
    "compile",
    "fake_quantised",
    "finetune",
    "import_float",
    "import_model",
    "import_torch",
    "quantize",
    "run",
    "run_float",
    "save_tflite",
]


def __getattr__(name: str) -> Any:
    """Load the public functions when they are first used: the command line starts without them."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from toolchain import api

    return getattr(api, name)
