"""Real boards: the framed protocol, serial ports, PlatformIO."""
