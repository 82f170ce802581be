"""The ids of outputs in the reference."""

from __future__ import annotations

import json
import uuid
from typing import Any

from streams.core.model.ids import NAMESPACE


def output_id(name: list[Any]) -> str:
    """Return the id of an output with this name (documented in `streams.core.model.ids`)."""
    return str(uuid.uuid5(NAMESPACE, json.dumps(name, ensure_ascii=False, separators=(",", ":"))))
