"""The data of a commit beside offsets: offset metadata, and the commit marker that ends the flush in the changelog.

The metadata is the authority on what was committed. The progress of upstream partitions is in the marker alone: a
broker takes 4 KB of metadata, and there are as many upstream partitions as partitions. The marker also serves where a
broker keeps no metadata (the embedded one), and its append time shows how far the worker's clock is from the broker's.
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
    """Number of the commit."""
    started_at: int
    """Time at which this application was first started, ms."""
    progress: StoredProgress
    version: int = 1
    topic_id: str = ""
    """Id of the source's topic; empty where the broker has no ids."""
    changelog_id: str = ""
    playbook: str = ""
    """Fingerprint of the playbook under which it was made; see `agreement.playbook_fingerprint`."""
    repartition_task: bool = False
    """True if it is a repartition task's: its topic is not co-partitioned. It has no state, and no commit number."""


class CommitMarker(msgspec.Struct, frozen=True):
    """The value of the commit marker."""

    commit: int
    started_at: int
    progress: dict[int, StoredProgress]
    repartition: StoredRepartition | None = None
    """None if nothing was ever repartitioned."""
    first: int = 0
    """Number of the first commit of the task that wrote it. That task skipped the number before. 0: not known."""
    salt: str = ""
    """Fingerprint of the salt of the erasure markers (`salt_fingerprint`). It shows if another salt is set."""
    version: int = 1
    playbook: str = ""
    """Playbook of the worker that committed: see `OffsetMetadata`."""


VERSION = 1
"""Version of both. A field that older workers may ignore is added without a new version. Any other change needs a new
version, which older workers refuse."""


class SaltChanged(Fault):
    """The erasure markers were made with another salt."""

    reason = "salt_changed"

    def __init__(self) -> None:
        super().__init__(
            "LIFECYCLE_ERASURE_SALT (or, without it, LIFECYCLE_ID_NAMESPACE) is not what it was at the last "
            "erasure: erased customers could come back. Set it to what it was. Nothing was changed."
        )


def salt_fingerprint(salt: bytes) -> str:
    """Return a fingerprint of the salt, which does not reveal it."""
    return blake2b(b"check", digest_size=8, key=salt).hexdigest()


M = TypeVar("M", OffsetMetadata, CommitMarker)

_metadata_decoder = msgspec.json.Decoder(OffsetMetadata)
_marker_decoder = msgspec.json.Decoder(CommitMarker)


def encode(stored: OffsetMetadata | CommitMarker) -> bytes:
    """Return JSON, so that an operator can read it."""
    return msgspec.json.encode(stored)


def decode_metadata(metadata: str) -> OffsetMetadata | None:
    """Return the metadata of a committed offset; None if it has none or not ours, as after an offset was set by hand.

    Raises `UserError` for that of a newer version.
    """
    try:
        decoded = _metadata_decoder.decode(metadata) if metadata else None
    except msgspec.MsgspecError:
        return None
    return None if decoded is None else _verified(decoded)


def decode_marker(value: bytes | None) -> CommitMarker | None:
    """Return the commit marker of a changelog partition. Raises `UserError` for that of a newer version."""
    return None if value is None else _verified(_marker_decoder.decode(value))


def _verified(stored: M) -> M:
    if stored.version > VERSION:
        raise UserError(
            "This group's last commit was made by a newer version of this program: upgrade this worker to that "
            "version. Nothing was changed."
        )
    return stored


def metadata_at_marker(marker: CommitMarker, source: Source) -> OffsetMetadata:
    """Return the metadata of `source` as of the marker."""
    return OffsetMetadata(marker.commit, marker.started_at, marker.progress.get(source, StoredProgress()))
