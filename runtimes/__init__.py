"""Where generated code and split models run: host, emulator, device, edge, cluster."""
