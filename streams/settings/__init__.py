"""Settings of all commands: their table (`table`), and how they are read (`loading`).

This package builds nothing: `streams.deployment` makes objects of other layers from settings.
"""

from streams.settings.loading import load, load_with_origins
from streams.settings.table import CONFIG, FIELDS, PREFIX, About, Settings

__all__ = ["CONFIG", "FIELDS", "PREFIX", "About", "Settings", "load", "load_with_origins"]
