"""The schema of each topic, from schemas/json, with its validator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

SCHEMAS = Path(__file__).parents[2] / "schemas"
TOPICS = sorted(path.stem for path in (SCHEMAS / "topics").iterdir())


def schema(topic: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((SCHEMAS / "json" / f"{topic}.schema.json").read_text())
    return document


VALIDATORS = {topic: Draft202012Validator(schema(topic)) for topic in TOPICS}
