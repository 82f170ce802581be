"""Benchmarks: this project's worker and its peers on one job, side by side. See `benchmarks/README.md`."""
