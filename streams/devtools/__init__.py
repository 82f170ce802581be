"""Brokers on this machine for the demo, for tests and for trials. No worker needs this package."""
