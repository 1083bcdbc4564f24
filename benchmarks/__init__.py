"""Commands that print the measured figures of benchmarks/RESULTS.md."""
