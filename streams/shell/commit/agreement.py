"""Whether the workers of a group agree on playbook, linking and order: every commit says under which it was made."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from streams.core.lifecycle.playbook import Playbook

log = logging.getLogger(__name__)


def playbook_fingerprint(
    playbook: Playbook, identity_resolution: bool = False, event_time_ordering: bool = False
) -> str:
    """Name, version and digest of a playbook, whether customers are linked, and whether events are applied by time, for
    the metadata of commits; empty for one without a text."""
    if not playbook.digest:
        return ""
    mark = f"{playbook.name}/{playbook.version}/{playbook.digest}"
    return mark + (" with linking" if identity_resolution else "") + (" by time" if event_time_ordering else "")


class PlaybookAgreement:
    """Compares what commits say with this worker's own playbook, and logs when that changes."""

    def __init__(
        self, playbook: Playbook, identity_resolution: bool = False, event_time_ordering: bool = False
    ) -> None:
        self.mark = playbook_fingerprint(playbook, identity_resolution, event_time_ordering)
        self.partitions_of_others = 0
        """Partitions whose last commit was made under another playbook."""
        self._others: frozenset[str] = frozenset()

    def observe(self, marks: Iterable[tuple[int, str]]) -> None:
        """The partitions of the group with the mark of their last commit; those without one have no say."""
        if not self.mark:
            return
        other = {(number, mark) for number, mark in marks if mark and mark != self.mark}
        self.partitions_of_others = len({number for number, _ in other})
        others = frozenset(mark for _, mark in other)
        if others and others != self._others:
            log.warning(
                "This worker runs the playbook %s, and the last commits of %d partitions were made under %s. During a "
                "roll-out of a playbook that is as it should be; else give all workers of the group the same "
                "LIFECYCLE_PLAYBOOK, LIFECYCLE_IDENTITY_RESOLUTION and LIFECYCLE_ORDERING.",
                self.mark,
                self.partitions_of_others,
                " and ".join(sorted(others)),
            )
        elif self._others and not others:
            log.info("All partitions are worked on under the playbook %s.", self.mark)
        self._others = others
