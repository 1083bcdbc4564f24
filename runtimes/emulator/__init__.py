"""Firmware without its board: Unicorn with exact memory maps and counts, QEMU for the rest."""
