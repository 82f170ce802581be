"""What a commit stores beside offsets: in their metadata, and in a marker record that ends the flush in the changelog.

The metadata is the authority of what it holds. What is known of origins is in the marker alone: a broker takes 4 KB of
metadata, and there are as many origins as partitions. The marker also serves where a broker keeps no metadata (the
embedded one), and its append time tells how far the worker's clock is from the broker's.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TypeVar

import msgspec

from streams.core.model.event import Source
from streams.core.model.sources import StoredProgress, StoredRepartition
from streams.errors import Fault, UserError

MARKER_KEY = b"\x00task"


class OffsetMetadata(msgspec.Struct, frozen=True, omit_defaults=True):
    """The metadata of one source's committed offset."""

    commit: int
    """The number of the commit."""
    started_at: int
    """When this application was first started, ms."""
    progress: StoredProgress
    version: int = 1
    topic_id: str = ""
    """Of the source's topic, where the broker tells ids."""
    changelog_id: str = ""
    playbook: str = ""
    """Under which it was made; see `agreement.playbook_fingerprint`."""
    reader: bool = False
    """Whether it is a reader's: the topic is read independently. Then there is no state, and no number."""


class CommitMarker(msgspec.Struct, frozen=True):
    """The value of the marker record."""

    commit: int
    started_at: int
    marks: dict[int, StoredProgress]
    repartition: StoredRepartition | None = None
    """None if nothing was forwarded."""
    first: int = 0
    """The number of the first commit of the task that wrote it, which left out the one before; 0: not known."""
    salt: str = ""
    """By which it can be told that the marks of who was erased were made with another salt (`salt_fingerprint`)."""
    version: int = 1


VERSION = 1
"""Of both. What an older one does not know may be added without another; else an older worker has to refuse it."""


class SaltChanged(Fault):
    """Marks of who was erased were made with another salt."""

    reason = "salt_changed"

    def __init__(self) -> None:
        super().__init__(
            "LIFECYCLE_ERASURE_SALT (or, without it, LIFECYCLE_ID_NAMESPACE) is not what it was when somebody was "
            "erased: who was could come back. Set it to what it was. Nothing was changed."
        )


def salt_fingerprint(salt: bytes) -> str:
    """By which a salt is known again, and cannot be found."""
    return blake2b(b"check", digest_size=8, key=salt).hexdigest()


M = TypeVar("M", OffsetMetadata, CommitMarker)

_source = msgspec.json.Decoder(OffsetMetadata)
_task = msgspec.json.Decoder(CommitMarker)


def encode(mark: OffsetMetadata | CommitMarker) -> bytes:
    """JSON, so that an operator can read it."""
    return msgspec.json.encode(mark)


def decode_metadata(metadata: str) -> OffsetMetadata | None:
    """The metadata of a committed offset; None where there is none or it is not ours (an offset set by hand).

    Raises `UserError` for that of a newer version.
    """
    try:
        mark = _source.decode(metadata) if metadata else None
    except msgspec.MsgspecError:
        return None
    return None if mark is None else _known(mark)


def decode_marker(value: bytes | None) -> CommitMarker | None:
    """The marker record of a changelog partition."""
    return None if value is None else _known(_task.decode(value))


def _known(mark: M) -> M:
    if mark.version > VERSION:
        raise UserError(
            "This group's last commit was made by a newer version of this program: upgrade this worker to that "
            "version. Nothing was changed."
        )
    return mark


def metadata_at_marker(task: CommitMarker, source: Source) -> OffsetMetadata:
    """What the metadata of `source` would have said at the marker."""
    return OffsetMetadata(task.commit, task.started_at, task.marks.get(source, StoredProgress()))
