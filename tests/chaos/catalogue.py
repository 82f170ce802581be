"""All programs: importing this module fills the list."""

from __future__ import annotations

from tests.chaos import workers
from tests.chaos.programs import PROGRAMS

__all__ = ["PROGRAMS", "workers"]
