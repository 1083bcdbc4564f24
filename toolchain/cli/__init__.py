"""The ``tessera`` command: one module per verb, each imported only when it runs."""

from toolchain.cli.main import main

__all__ = ["main"]
