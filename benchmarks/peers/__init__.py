"""The Python peers of the common job: one process each, started by `benchmarks.run`."""
