"""Replay events, and compare the outputs of workers with those of the replay."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def replay_outputs(
    directory: Path, clicks: list[dict[str, Any]], orders: list[dict[str, Any]], **settings: str
) -> list[dict[str, Any]]:
    """Return the outputs that `lifecycle replay` makes of these events."""
    directory.mkdir()
    for name, events in (("clicks", clicks), ("orders", orders)):
        (directory / f"{name}.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    subprocess.run(
        [sys.executable, "-m", "streams", "replay", "--clickstream", directory / "clicks.jsonl",
         "--orders", directory / "orders.jsonl", "--out", directory / "out"],
        check=True, capture_output=True,
        env=os.environ | {f"LIFECYCLE_{key.upper()}": value for key, value in settings.items()},
    )  # fmt: skip
    return [
        json.loads(line)
        for name in ("stage-changes", "abandonments", "identities")
        for line in (directory / "out" / f"{name}.jsonl").read_text().splitlines()
    ]


def differing_outputs(
    live: Iterable[dict[str, Any]], expected: Iterable[dict[str, Any]], last: int
) -> list[tuple[str, dict[str, Any]]]:
    """Return the outputs that are lost and those that are unexpected, among all that occurred up to `last`."""
    live, expected = list(live), list(expected)
    right, found = ids_until(last, expected), ids_until(last, live)
    return [("lost", d) for d in expected if d["id"] in right - found] + [
        ("unexpected", d) for d in live if d["id"] in found - right
    ]


def ids_until(at: int, documents: Iterable[dict[str, Any]]) -> set[str]:
    """Return the ids of the documents that occurred up to a time (ms)."""
    limit = datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {document["id"] for document in documents if document["occurred_at"] <= limit}
