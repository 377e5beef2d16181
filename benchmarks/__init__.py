"""Measurements against peers: `python -m benchmarks.<part> [--quick] [--json OUT]`."""
