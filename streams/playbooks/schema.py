"""The JSON Schema of playbooks, for editors: `python -m streams.playbooks.schema`.

It covers only the form of a playbook: rules are texts there. `lifecycle validate` also checks rules and names.
"""

from __future__ import annotations

import json

from streams.playbooks.format import PLAYBOOK
from streams.playbooks.key_kinds import Schema


def schema() -> Schema:
    """Return the JSON Schema of a playbook."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Playbook",
        "description": "The definition of a lifecycle: stages, transitions, windows. docs/playbook.md explains it.",
        **PLAYBOOK.schema(),
    }


if __name__ == "__main__":
    print(json.dumps(schema(), indent=2))
