"""All programs: importing this module fills the list."""

from __future__ import annotations

from tests.chaos import brokers, disks, failover, identities, inputs, live, workers
from tests.chaos.programs import PROGRAMS

__all__ = ["PROGRAMS", "brokers", "disks", "failover", "identities", "inputs", "live", "workers"]
