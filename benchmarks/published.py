"""What others published or what was measured of them: the figures that ours are compared with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Known:
    """Instructions of one inference on an emulated Cortex-M4.

    Attributes:
        tflm: TFLite Micro with CMSIS-NN, -Ofast.
        tinyengine: TinyEngine, which is not bit-exact; 0 if not measured.
        bar: what we must not exceed.
        aim: what we want.
        max_ram: bytes of arena within which the bar holds for the default plan; 0 for any.
    """

    tflm: int
    tinyengine: int
    bar: int
    aim: int
    max_ram: int = 0


KNOWN = {
    "vww_96_int8": Known(24_720_561, 0, 11_000_000, 9_500_000),
    "pretrainedResnet_quant": Known(29_875_418, 0, 16_000_000, 14_000_000),
    "kws_ref_model": Known(7_844_362, 0, 3_900_000, 3_300_000),
    "ad01_int8": Known(582_348, 0, 400_000, 330_000),
    "person_detect": Known(23_526_941, 0, 11_000_000, 9_300_000),
    "streaming-wake-word": Known(2_226_431, 0, 1_200_000, 1_000_000),
    "vww": Known(49_374_866, 34_747_457, 20_000_000, 16_500_000),
    "detection": Known(77_709_666, 54_632_494, 34_000_000, 27_000_000),
    "mcunetv2-large-se": Known(865_297_078, 515_406_181, 320_000_000, 270_000_000, 232_000),
}


@dataclass(frozen=True)
class Silicon:
    """The best published latency per network on a board, MLPerf Tiny closed division.

    Source: mlcommons, tiny_results v1.0 to v1.3.

    Attributes:
        core: of the board.
        emulated: the board whose firmware is counted.
        mhz: clock of the published figures.
        milliseconds: by network.
    """

    core: str
    emulated: str
    mhz: int
    milliseconds: dict[str, float]


NAMES = ("vww_96_int8", "pretrainedResnet_quant", "kws_ref_model", "ad01_int8")
SILICON = tuple(
    Silicon(core, emulated, mhz, dict(zip(NAMES, times, strict=True)))
    for core, emulated, mhz, times in (
        ("M4, STM32L4R5", "nucleo_l4r5zi", 120, (88.9, 165.1, 43.2, 4.05)),
        ("M7, STM32H7A3", "emulator_m7_16m", 280, (23.8, 40.8, 11.3, 1.08)),
        ("M33, STM32U575", "nucleo_u575zi_q", 160, (59.3, 104.3, 29.0, 3.09)),
    )
)
