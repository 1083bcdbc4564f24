"""The device side over a real serial port: a pseudo-terminal joined to the emulated UART."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtimes.device.client import Client
from runtimes.device.frames import PAYLOAD, Frame, Receiver, decode
from runtimes.device.port import Device, SerialLink
from runtimes.emulator.emulator import Emulator, MachineLink
from runtimes.emulator.terminal import Terminal
from tests.runtimes.networks import Network, small_network
from toolchain.errors import DeviceError
from toolchain.ir import run


@pytest.fixture(scope="module")
def network() -> Network:
    return small_network("nucleo_f446re")


@pytest.fixture(scope="module")
def emulator(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Emulator:
    return network.emulator(tmp_path_factory.mktemp("firmware"))


@given(
    kind=st.sampled_from("IWRLOirloe"),
    sequence=st.integers(0, 255),
    payload=st.binary(max_size=PAYLOAD),
    noise=st.binary(max_size=300),
    cut=st.integers(0, 600),
)
@settings(deadline=None)
def test_a_frame_survives_noise_before_it(
    kind: str, sequence: int, payload: bytes, noise: bytes, cut: int
) -> None:
    frame = Frame(kind, sequence, payload)
    stream = noise + b"\0" + frame.encode()
    receiver = Receiver()
    found = [*receiver.feed(stream[:cut]), *receiver.feed(stream[cut:])]
    assert found[-1] == frame


@given(payload=st.binary(max_size=PAYLOAD), at=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_a_damaged_frame_is_not_taken(payload: bytes, at: int, flip: int) -> None:
    coded = bytearray(Frame("o", 5, payload).encode()[:-1])
    coded[at % len(coded)] ^= flip
    assert decode(bytes(coded)) is None


def test_inference_over_a_serial_port(network: Network, emulator: Emulator) -> None:
    with (
        Terminal(emulator.machine) as terminal,
        Device(terminal.port, network.graph, network.plan.hash) as device,
    ):
        assert device.info.layers == 3
        for seed in range(3):
            inputs = network.inputs(seed)
            done = device.run(inputs)
            np.testing.assert_array_equal(done.outputs, run(network.graph, inputs))
            assert 0 < done.stack_bytes < device.info.stack_bytes
            assert sum(done.layers) <= done.ticks


def test_a_board_with_another_plan_is_refused(network: Network, emulator: Emulator) -> None:
    with Terminal(emulator.machine) as terminal, pytest.raises(DeviceError) as error:
        Device(terminal.port, network.graph, "0123456789abcdef" * 4)
    assert error.value.code == "E503"
    assert error.value.numbers["device"] == network.plan.hash[:16]


def test_a_busy_port_names_its_program(emulator: Emulator) -> None:
    hold = (
        "import sys, serial\n"
        "port = serial.Serial(sys.argv[1], exclusive=True)\n"
        "print('open', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with Terminal(emulator.machine) as terminal:
        command = [sys.executable, "-c", hold, terminal.port]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "open\n"
            with pytest.raises(DeviceError, match=f"pid {holder.pid}") as error:
                SerialLink(terminal.port)
            holder.communicate()
    assert error.value.code == "E502"


def test_a_missing_port_is_no_board(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="no such serial port") as error:
        SerialLink(str(tmp_path / "ttyUSB9"))
    assert error.value.code == "E501"


def test_a_silent_board_is_lost(network: Network) -> None:
    class Silent:
        def write(self, data: bytes) -> None:
            pass

        def read(self, seconds: float) -> bytes:
            del seconds
            return b""

    client = Client(Silent(), network.graph, "nowhere")
    with pytest.raises(DeviceError, match="does not answer") as error:
        client.connect("00")
    assert error.value.code == "E504"


class NoisyLink(MachineLink):
    """Damages, drops and invents bytes, in both directions, now and then."""

    def __init__(self, emulator: Emulator, seed: int) -> None:
        super().__init__(emulator.machine)
        self.rng, self.damaged = np.random.default_rng(seed), 0

    def damage(self, data: bytes) -> bytes:
        if not data or self.rng.random() > 0.03:
            return data
        self.damaged += 1
        at, choice = int(self.rng.integers(len(data))), self.rng.integers(3)
        middle = [b"", bytes([data[at] ^ 0x10]), self.rng.bytes(9)][choice]
        return data[:at] + middle + data[at + 1 :]

    def write(self, data: bytes) -> None:
        super().write(self.damage(data))

    def read(self, seconds: float) -> bytes:
        return self.damage(super().read(seconds))


def test_the_protocol_outlives_noise(network: Network, emulator: Emulator) -> None:
    link = NoisyLink(emulator, 1)
    client = Client(link, network.graph, "noise")
    client.connect(network.plan.hash)
    for seed in range(40):
        inputs = network.inputs(seed)
        outputs = client.run(inputs).outputs
        np.testing.assert_array_equal(outputs, run(network.graph, inputs))
    assert link.damaged > 5
