"""Brokers on this machine for the demo, for tests and for people who try things out. No worker needs this package."""
