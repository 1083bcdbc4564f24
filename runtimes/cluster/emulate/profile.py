"""What an emulated device can do: as many of them as run at once, measured at once."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

from runtimes.cluster.emulate.cluster import pin
from toolchain.cluster.devices import Device
from toolchain.errors import DeviceError


def profile_emulated(count: int, folder: Path) -> Device:
    """Measure devices side by side on the processors that they share.

    Processors share a memory bus: one alone would promise too much. Devices beyond the number of
    processors take turns.

    Args:
        count: of devices.
        folder: on the disk of the shards.

    Returns:
        The mean device.

    Raises:
        DeviceError: E520, a measuring process failed.
    """
    together = min(count, len(os.sched_getaffinity(0)))
    command = [sys.executable, "-m", "toolchain", "cluster", "profile", "--json"]
    running = []
    for device in range(together):
        process = subprocess.Popen(
            [*command, "--folder", str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        pin(process.pid, device)
        running.append(process)
    answers = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        raise DeviceError("E520", "a device could not be measured")
    devices = [Device(**json.loads(answer)["result"]["device"]) for answer in answers]
    turns = count / together
    return dataclasses.replace(
        devices[0],
        name="emulated",
        weights_per_s=sum(device.weights_per_s for device in devices) / together / turns,
        macs_per_s=sum(device.macs_per_s for device in devices) / together / turns,
        disk_per_s=sum(device.disk_per_s for device in devices) / turns,
        block_s=max(device.block_s for device in devices) * turns,
    )
