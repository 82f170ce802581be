"""Agreement of the workers of a group on playbook, identity resolution and ordering, which every commit names."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from streams.core.lifecycle.playbook import Playbook

log = logging.getLogger(__name__)


def playbook_fingerprint(
    playbook: Playbook, identity_resolution: bool = False, event_time_ordering: bool = False
) -> str:
    """Return name, version and digest of a playbook, and whether identity resolution and event time ordering are on.

    It goes into the metadata of commits. Empty for a playbook without a text.
    """
    if not playbook.digest:
        return ""
    fingerprint = f"{playbook.name}/{playbook.version}/{playbook.digest}"
    if identity_resolution:
        fingerprint += " with identity resolution"
    return fingerprint + " in event time order" if event_time_ordering else fingerprint


class PlaybookAgreement:
    """Compares the playbooks of commits with this worker's own, and logs when the result changes."""

    def __init__(
        self, playbook: Playbook, identity_resolution: bool = False, event_time_ordering: bool = False
    ) -> None:
        self.fingerprint = playbook_fingerprint(playbook, identity_resolution, event_time_ordering)
        self.partitions_of_others = 0
        """Partitions whose last commit was made under another playbook."""
        self._others: frozenset[str] = frozenset()

    def observe(self, fingerprints: Iterable[tuple[int, str]]) -> None:
        """Compare the fingerprints of the partitions' last commits. An empty one is ignored."""
        if not self.fingerprint:
            return
        different = {(number, other) for number, other in fingerprints if other and other != self.fingerprint}
        self.partitions_of_others = len({number for number, _ in different})
        others = frozenset(other for _, other in different)
        if others and others != self._others:
            log.warning(
                "This worker runs the playbook %s, and the last commits of %d partitions were made under %s. This is "
                "expected while a playbook is rolled out; otherwise give all workers of the group the same "
                "LIFECYCLE_PLAYBOOK, LIFECYCLE_IDENTITY_RESOLUTION and LIFECYCLE_ORDERING.",
                self.fingerprint,
                self.partitions_of_others,
                " and ".join(sorted(others)),
            )
        elif self._others and not others:
            log.info("The last commits of all partitions were made under the playbook %s.", self.fingerprint)
        self._others = others
