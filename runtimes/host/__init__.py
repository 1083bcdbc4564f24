"""The host as a board: compile the generated C with the system's compiler and call it."""

from runtimes.host.library import HostModel, build_host

__all__ = ["HostModel", "build_host"]
