"""Replace single calls of a RocksDB database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from streams.transport.rocks import Database


class PatchedDatabase:
    """Wrap the RocksDB database of `database`: the calls given replace its own. `real` is the database itself."""

    def __init__(self, database: Database, **calls: Callable[..., Any]) -> None:
        self.real: Any = database._db
        self._calls = calls
        database._db = self  # type: ignore[assignment]

    def __getattr__(self, name: str) -> Any:
        return self._calls.get(name) or getattr(self.real, name)
