"""A cluster on one machine: links with latency and bandwidth, devices with capped RAM and CPU."""
