"""Scenarios: what our own worker does as a process on Apache Kafka. `python -m benchmarks.scenarios` runs them all."""
