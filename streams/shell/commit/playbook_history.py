"""The playbooks under which a group has committed, and whether a worker with another one may start.

A worker moves every customer whose stage its playbook does not know. So a playbook that nobody meant, as after a
forgotten setting, must not reach the state (ADR 0036).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from streams.core.lifecycle.playbook import Playbook


class PlaybookId(NamedTuple):
    """Identity of a playbook, as commits name it."""

    name: str
    version: int
    digest: str

    def __str__(self) -> str:
        return f"{self.name}, version {self.version} ({self.digest})"


def playbook_id(playbook: Playbook) -> PlaybookId:
    """Return the name, version and digest of a playbook."""
    return PlaybookId(playbook.name, playbook.version, playbook.digest)


def parse_fingerprint(fingerprint: str) -> PlaybookId | None:
    """Return the playbook that `agreement.playbook_fingerprint` names; None for an empty one."""
    name, _, rest = fingerprint.partition(" ")[0].partition("/")
    version, _, digest = rest.partition("/")
    return PlaybookId(name, int(version), digest) if version.isdigit() else None


def of_commits(fingerprints: Iterable[str]) -> list[PlaybookId]:
    """Return the playbooks that commits name, each once, the highest version last."""
    found = {known for fingerprint in fingerprints if (known := parse_fingerprint(fingerprint)) is not None}
    return sorted(found, key=lambda known: (known.version, known.name, known.digest))


def refusal(own: PlaybookId, committed: Iterable[PlaybookId]) -> str | None:
    """Return why a worker with the playbook `own` must not start on what was committed, and what to do; None if it may.

    A higher version of the same playbook may always start. The same version must have the same text.
    """
    if not own.digest:
        return None  # a playbook without a text
    for other in committed:
        if other.name != own.name:
            remedy = "set LIFECYCLE_PLAYBOOK to the playbook of this group"
        elif other.version > own.version:
            remedy = f"set LIFECYCLE_PLAYBOOK to version {other.version} or a higher one"
        elif other.version == own.version and other.digest != own.digest:
            remedy = "its text was changed, so raise its version"
        else:
            continue
        return (
            f"this group's last commits were made under the playbook {other}, but this worker has {own}: {remedy}, or, "
            "if every customer is to be moved to it, start once with --accept-playbook (`lifecycle plan` counts who "
            "would move). Nothing was changed."
        )
    return None


def migrates(own: PlaybookId, committed: Iterable[PlaybookId]) -> bool:
    """Return True if customers have yet to be moved to the playbook `own`."""
    return bool(own.digest) and any(other != own for other in committed)
