"""Plans for clusters: pure arithmetic over a model and the devices that share it."""
