"""Which extra brings a package that a verb needs: no installation has more than it uses."""

from __future__ import annotations

from toolchain.errors import ModelError

# Verbs of a device that computes for a head; see ``worker`` in pyproject.toml.
_WORKER_VERBS = ("cluster worker", "cluster keygen", "cluster profile")
# Packages of a machine that turns models into shards; a head and its workers have no need of them.
_CONVERTING = ("numpy", "tokenizers")
_OURS = ("boards", "toolchain", "nas", "codegen", "runtimes", "firmware_templates")


def missing_package(error: ModuleNotFoundError, command: str) -> ModelError | None:
    """Name the command that installs what a verb did not find.

    Args:
        error: what Python said.
        command: the verb and its subverb.

    Returns:
        E203, or None if the missing module is one of ours: that is a bug.
    """
    package = (error.name or "").partition(".")[0]
    if not package or package in _OURS:
        return None
    extra = "torch" if package == "torch" else "mcu"
    if command.startswith("cluster"):
        extra = "worker" if command in _WORKER_VERBS else "cluster"
        extra = "cluster-convert" if package in _CONVERTING else extra
    return ModelError(
        "E203",
        f"tessera {command} needs the package {package}",
        hints=[f'pip install "tessera[{extra}]"'],
    )
