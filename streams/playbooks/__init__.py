"""Playbooks: YAML files that define a lifecycle, and the code that turns one into the `Playbook` that the engine runs.

`load` reads a playbook by path, or a shipped one by name. `docs/playbook.md` explains how to write one.
"""

from streams.playbooks.loader import DEFAULT, SHIPPED, load, parse
from streams.playbooks.problems import PlaybookError, PlaybookProblem

__all__ = ["DEFAULT", "SHIPPED", "PlaybookError", "PlaybookProblem", "load", "parse"]
