"""What a board is: its core, memory map and tools."""

from __future__ import annotations

from dataclasses import dataclass

CORES = (
    "cortex-m0",
    "cortex-m0plus",
    "cortex-m3",
    "cortex-m4",
    "cortex-m7",
    "cortex-m33",
    "cortex-m55",
    "xtensa-lx7",
    "cortex-a8",
    "cortex-a53",
    "cortex-a72",
    "cortex-a76",
    "host",
)
ARMV6M = ("cortex-m0", "cortex-m0plus")  # cores without products of 64 bits
_CACHED = ("cortex-m7", "cortex-m55")
FEATURES = ("fpu-sp", "fpu-dp", "dsp", "mve")
KINDS = ("flash", "ram")
SPEEDS = ("tcm", "sram", "flash", "external")


@dataclass(frozen=True)
class Region:
    """A piece of the memory map.

    Attributes:
        name: as the reference manual calls it.
        kind: ``"flash"`` or ``"ram"``.
        start: first address.
        size: bytes.
        speed: ``"tcm"`` (no wait states, no cache needed), ``"sram"``, ``"flash"``, ``"external"``.
        source: where the figures come from.
        enable: ``(register, bits to set)`` before the first access; ``None`` if nothing is said,
            which means that off-chip memory is not for an arena.
    """

    name: str
    kind: str
    start: int
    size: int
    speed: str
    source: str
    enable: tuple[tuple[int, int], ...] | None = None

    @property
    def end(self) -> int:
        """Return the address behind the last byte."""
        return self.start + self.size


@dataclass(frozen=True)
class FlashAccess:
    """How long the core waits for its flash, at the greatest clock.

    Attributes:
        wait_states: cycles that a read adds which no buffer answers.
        word: bytes that one read brings.
        code_words: that the instruction cache keeps; 0 without one.
        data_words: that the data cache keeps; 0 without one.
        prefetch: whether the word that follows is read while one is executed.
        source: where the figures come from.
    """

    wait_states: int
    word: int
    code_words: int
    data_words: int
    prefetch: bool
    source: str


@dataclass(frozen=True)
class PlatformIO:
    """Names in PlatformIO's registry: platform and board."""

    platform: str
    board: str


@dataclass(frozen=True)
class Flashing:
    """How firmware reaches the board.

    Attributes:
        protocol: PlatformIO's default upload protocol.
        openocd: OpenOCD target script without ``.cfg``; empty where there is none.
        pyocd: pyOCD target; empty where it needs a downloaded pack.
    """

    protocol: str
    openocd: str = ""
    pyocd: str = ""


@dataclass(frozen=True)
class Emulation:
    """Where firmware runs without the board.

    Attributes:
        unicorn: CPU model that runs the board's own firmware on its exact memory map.
        qemu: QEMU machine that runs the board's own firmware.
        stand_in: id of a QEMU board of the same core, for which the firmware is linked again.
    """

    unicorn: str = ""
    qemu: str = ""
    stand_in: str = ""


@dataclass(frozen=True)
class Linux:
    """How programs are made for a board that runs Linux.

    Attributes:
        target: architecture, system and ABI as clang names them; ``"native"`` for this computer.
        cpu: clang's name of the core, empty for a native target.
    """

    target: str
    cpu: str = ""

    @property
    def native(self) -> bool:
        """Tell whether this computer is the board."""
        return self.target == "native"

    @property
    def architecture(self) -> str:
        """Return the machine's name as ``uname -m`` and QEMU's user mode know it."""
        return self.target.split("-", 1)[0]


@dataclass(frozen=True)
class Board:
    """A board: its core, clock, memory map and tools.

    Attributes:
        id: the TOML file's name.
        name: for people.
        mcu: the chip.
        core: one of `CORES`.
        features: extensions of the core, of `FEATURES`.
        mhz: greatest clock.
        regions: the memory map, in order of address.
        platformio: names in its registry, ``None`` where it does not know the board.
        flashing: how to upload, ``None`` for a machine that is only emulated.
        emulation: where its firmware runs without it.
        linux: how programs are made for it, ``None`` for a microcontroller.
        flash_access: what reading the flash costs, ``None`` where it is not known.
        definition: the TOML text of a user's own board, empty for those that are known.
    """

    id: str
    name: str
    mcu: str
    core: str
    features: tuple[str, ...]
    mhz: int
    regions: tuple[Region, ...]
    platformio: PlatformIO | None
    flashing: Flashing | None
    emulation: Emulation
    linux: Linux | None = None
    flash_access: FlashAccess | None = None
    definition: str = ""

    @property
    def isa(self) -> str:
        """Return the instruction set that kernels are chosen and priced for.

        That is ``"portable"``, ``"armv6m"``, ``"dsp"`` or ``"mve"``.
        """
        plain = "armv6m" if self.core in ARMV6M else "portable"
        return next((isa for isa in ("mve", "dsp") if isa in self.features), plain)

    @property
    def caches(self) -> bool:
        """Tell whether the core may have first-level caches, which are off after reset."""
        return self.core in _CACHED

    @property
    def flash(self) -> Region:
        """Return the region that holds code and constants."""
        return max((r for r in self.regions if r.kind == "flash"), key=lambda r: r.size)

    @property
    def ram_blocks(self) -> tuple[Region, ...]:
        """Return the RAM in pieces of contiguous addresses, largest first.

        Neighbouring regions of one speed class join: an array may cross their border. Tightly
        coupled memory that touches plain SRAM joins too (STM32F7), as the bus matrix allows it.
        Off-chip memory stays apart.
        """
        blocks: list[Region] = []
        for region in self.regions:
            if region.kind != "ram":
                continue
            if blocks and _adjoin(blocks[-1], region):
                blocks[-1] = _joined(blocks[-1], region)
            else:
                blocks.append(region)
        return tuple(sorted(blocks, key=lambda b: (b.speed == "external", -b.size)))

    @property
    def ram(self) -> Region:
        """Return the largest contiguous piece of on-chip RAM."""
        return self.ram_blocks[0]


def _adjoin(a: Region, b: Region) -> bool:
    return a.end == b.start and (a.speed == "external") == (b.speed == "external")


def _joined(a: Region, b: Region) -> Region:
    source = a.source if a.source == b.source else f"{a.source}; {b.source}"
    enable = None if a.enable is b.enable is None else (*(a.enable or ()), *(b.enable or ()))
    return Region(f"{a.name}+{b.name}", a.kind, a.start, a.size + b.size, b.speed, source, enable)
