"""The output of a replay: six JSON Lines files that appear together at its end, or not at all."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Final, Self

import msgspec

from streams.contracts.rejected import Rejected
from streams.core.model.outputs import IdentityChange, Output, StageChange, Triggered
from streams.errors import UserError

STAGE_CHANGES: Final = "stage-changes.jsonl"
ABANDONMENTS: Final = "abandonments.jsonl"
TRIGGERS: Final = "triggers.jsonl"
IDENTITIES: Final = "identities.jsonl"
DEAD_LETTERS: Final = "dead-letters.jsonl"
PROFILES: Final = "profiles.jsonl"
NAMES: Final = (STAGE_CHANGES, ABANDONMENTS, TRIGGERS, IDENTITIES, DEAD_LETTERS, PROFILES)


def file_of(output: Output) -> str:
    """Return the name of the file for an output."""
    if isinstance(output, StageChange):
        return STAGE_CHANGES
    if isinstance(output, IdentityChange):
        return IDENTITIES
    return TRIGGERS if isinstance(output, Triggered) else ABANDONMENTS


class Results:
    """The files while they are written. A context manager that removes them unless `publish` was called."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._stack = ExitStack()
        self._partial = Path()
        self._files: dict[str, IO[bytes]] = {}

    def write(self, name: str, lines: Iterable[bytes]) -> None:
        """Append lines, which come without line ends."""
        try:
            self._files[name].writelines(line + b"\n" for line in lines)
        except OSError as error:
            raise self._unwritable(error) from None

    def publish(self) -> None:
        """Move the files to their places. Called once, at the end."""
        try:
            for name, file in self._files.items():
                file.close()
                (self._partial / name).replace(self._directory / name)
        except OSError as error:
            raise self._unwritable(error) from None

    def __enter__(self) -> Self:
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            temporary = tempfile.TemporaryDirectory(prefix=".replay-", dir=self._directory)
            self._partial = Path(self._stack.enter_context(temporary))
            for name in NAMES:
                self._files[name] = self._stack.enter_context((self._partial / name).open("wb"))
        except OSError as error:
            self._stack.close()
            raise self._unwritable(error) from None
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(f"{self._directory} cannot be written: {error.strerror or error}.")


def dead_letter(topic: str, offset: int, value: bytes, rejected: Rejected) -> bytes:
    """Return the JSON line of a rejected record: topic, offset, reason, and the value as text if it is UTF-8."""
    document: dict[str, object] = {
        "topic": topic,
        "partition": 0,
        "offset": offset,
        "reason": rejected.reason,
        "message": rejected.detail,
    }
    try:
        document["value"] = value.decode()
    except UnicodeDecodeError:
        document["value_base64"] = base64.b64encode(value).decode()
    return msgspec.json.encode(document)
