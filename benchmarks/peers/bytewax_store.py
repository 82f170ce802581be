"""Reads the progress of Bytewax for the measurement: it commits to SQLite, in its state directory."""

from __future__ import annotations

import pickle
import sqlite3
from pathlib import Path

from benchmarks.peers.arguments import Arguments

DIRECTORY = "recovery"
INPUT = "events"
"""The id of the step that reads the input topic."""


def committed(given: Arguments) -> int:
    """Return the number of events in closed epochs, over all partitions: Bytewax would resume there."""
    return sum(_resume_offsets(store) for store in (given.state_dir / DIRECTORY).glob("*.sqlite3"))


def _resume_offsets(store: Path) -> int:
    """Return the sum of the partitions' offsets in their latest closed epochs. Our own process pickled them."""
    try:
        with sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=1) as database:
            rows = database.execute(
                "SELECT state_key, ser_change, max(snap_epoch) FROM snaps WHERE step_id LIKE ?"
                " AND snap_epoch < (SELECT max(worker_frontier) FROM fronts) GROUP BY state_key",
                (f"%.{INPUT}.kafka_input",),
            ).fetchall()
    except sqlite3.OperationalError:  # being made, or written
        return 0
    return sum(max(0, pickle.loads(change)) for _, change, _ in rows if change is not None)
