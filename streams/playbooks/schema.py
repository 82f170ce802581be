"""The JSON Schema of playbooks, for editors: `python -m streams.playbooks.schema`.

It says what can be said without knowing names: rules are texts there. `lifecycle validate` tells the rest.
"""

from __future__ import annotations

import json

from streams.playbooks.format import PLAYBOOK
from streams.playbooks.key_kinds import Schema


def schema() -> Schema:
    """The whole of it."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Playbook",
        "description": "What a lifecycle is: stages, transitions, windows. docs/playbook.md explains it.",
        **PLAYBOOK.schema(),
    }


if __name__ == "__main__":
    print(json.dumps(schema(), indent=2))
