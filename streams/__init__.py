"""Lifecycle Streams: a real-time customer-lifecycle processor on Kafka."""

__version__ = "0.1.0"
