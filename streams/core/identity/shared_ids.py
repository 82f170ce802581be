"""Counts the devices of each customer id, to find ids that name nobody: placeholders that are in no list.

The counts are for operators only, and nothing else depends on them. So they are kept in memory, from the time at which
the task took the partition over, and bounded: the ids with the most devices stay (the algorithm of Misra and Gries).
"""

from __future__ import annotations

from typing import Final

MOST_IDS: Final = 1_000
"""Number of ids counted at a time."""


class SharedId:
    """The count of a customer id, and the place of the latest record that added a device to it."""

    def __init__(self) -> None:
        self.devices = 0
        self.source = 0
        self.partition = -1
        """-1: this task's own."""
        self.offset = -1
        self.reported = False


class SharedIds:
    """The customer ids to which new devices were linked, by the number of these devices."""

    def __init__(self) -> None:
        self._counts: dict[str, SharedId] = {}
        self._largest = 0

    def note(self, customer: str, source: int, partition: int, offset: int) -> None:
        """Note that a device was found to be the customer's that was not known to be. Each device is noted once."""
        count = self._counts.get(customer)
        if count is None:
            if len(self._counts) >= MOST_IDS:
                self._shrink()
                if len(self._counts) >= MOST_IDS:
                    return
            count = self._counts[customer] = SharedId()
        count.devices += 1
        count.source, count.partition, count.offset = source, partition, offset
        self._largest = max(self._largest, count.devices)

    def take(self, most: int) -> list[SharedId]:
        """Return the ids with more than `most` devices that were not returned before."""
        if self._largest <= most:
            return []
        found = [count for count in self._counts.values() if count.devices > most and not count.reported]
        for count in found:
            count.reported = True
        self._largest = max([count.devices for count in self._counts.values() if not count.reported], default=0)
        return found

    def _shrink(self) -> None:
        """Take one device from each id, and drop those that are left without any."""
        for customer, count in list(self._counts.items()):
            if not count.reported:
                count.devices -= 1
                if not count.devices:
                    del self._counts[customer]
