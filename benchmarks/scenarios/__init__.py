"""Scenarios: measurements of our worker process on Apache Kafka. `python -m benchmarks.scenarios` runs all of them."""
