"""Benchmarks of this machine, measured side by side in one run: `python -m awr_ros bench`."""
