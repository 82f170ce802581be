"""Playbooks: YAML files that say what a lifecycle is, and how one becomes what the engine runs.

`load` reads one by path, or one that is shipped by name. `docs/playbook.md` tells people how to write them.
"""

from streams.playbooks.loader import DEFAULT, SHIPPED, load, parse
from streams.playbooks.problems import PlaybookError, PlaybookProblem

__all__ = ["DEFAULT", "SHIPPED", "PlaybookError", "PlaybookProblem", "load", "parse"]
