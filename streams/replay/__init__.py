"""The offline runtime: the engine of the worker over files, without Kafka."""

from typing import Final

MAX_REJECTED: Final = 10.0
"""Percent of the records that may be rejected before the exit code is 1."""
