"""A network that onnxruntime executes, called as a compiled one."""

from __future__ import annotations

from pathlib import Path

from .ports import Array, predict, read_package, same_count, stacked


class Network:
    """A session of onnxruntime.

    Args:
        folder: holds ``network.json`` and the model; the package's own by default.
    """

    stateful = False

    def __init__(self, folder: Path | None = None) -> None:
        import onnxruntime

        package = read_package(folder)
        self.inputs, self.outputs = package.inputs, package.outputs
        self._options = onnxruntime.SessionOptions()
        self._options.log_severity_level = 3  # errors alone
        self._session = onnxruntime.InferenceSession(
            package.model, self._options, providers=["CPUExecutionProvider"]
        )

    def run(self, *inputs: Array) -> tuple[Array, ...]:
        """Run one case or a batch: arrays (N, ...) in and out, of the ports' element types.

        Raises:
            ValueError: a wrong number of arrays, shape or element type.
        """
        arrays, count = same_count(self.inputs, inputs)
        names = [port.name for port in self.outputs]
        rows = [
            self._session.run(
                names,
                {
                    port.name: array[i].reshape(port.shape)
                    for port, array in zip(self.inputs, arrays, strict=True)
                },
            )
            for i in range(count)
        ]
        return stacked(self.outputs, rows)

    def predict(self, *values: Array) -> tuple[Array, ...]:
        """Run on real values and return real values; see `run`."""
        return predict(self, values)

    def reset(self) -> None:
        """Forget all calls: these networks keep nothing between them."""
