"""The number of customers in each stage, of aliases, and the size of the largest profile of one partition."""

from __future__ import annotations

from collections import Counter

from streams.core.profile.codec import Header


class Census:
    """Counts the records of a partition by what they hold. It is kept right record by record, for metrics."""

    def __init__(self) -> None:
        self.population: Counter[str] = Counter()
        """Customers in each stage of the lifecycle. No entry is 0."""
        self.places: Counter[tuple[str, str]] = Counter()
        """Customers in each stage of the other tracks, by track and stage. No entry is 0."""
        self.aliases = 0
        """Records of aliases. They are not part of the population."""
        self.largest = 0
        """Bytes of the largest profile packed or restored so far."""

    def add(self, header: Header, size: int) -> None:
        """Count a restored record of `size` bytes."""
        if header.stage is not None:
            self.population[header.stage] += 1
        self.aliases += header.is_alias
        self.move_places((), header.places)
        self.largest = max(self.largest, size)

    def remove(self, header: Header) -> None:
        """Take back the count of a record that another one replaces."""
        if header.stage is not None:
            self._leave_stage(header.stage)
        self.aliases -= header.is_alias
        self.move_places(header.places, ())

    def move_stage(self, before: str | None, after: str | None) -> None:
        """Count a customer in the stage `after` instead of `before`."""
        if before is not None:
            self._leave_stage(before)
        if after is not None:
            self.population[after] += 1

    def move_places(self, before: tuple[tuple[str, str], ...], after: tuple[tuple[str, str], ...]) -> None:
        """Count a customer in the places `after` instead of `before`: see `Profile.places`."""
        if before == after:
            return
        for place in before:
            self.places[place] -= 1
            if not self.places[place]:
                del self.places[place]
        for place in after:
            self.places[place] += 1

    def load(self, population: dict[str, int], places: dict[str, dict[str, int]], aliases: int, largest: int) -> None:
        """Set the counts to those of a disk checkpoint."""
        self.population.update(population)
        for track, stages in places.items():
            for stage, number in stages.items():
                self.places[track, stage] = number
        self.aliases, self.largest = aliases, largest

    def places_by_track(self) -> dict[str, dict[str, int]]:
        """Return `places` as a disk checkpoint holds them."""
        found: dict[str, dict[str, int]] = {}
        for (track, stage), number in self.places.items():
            found.setdefault(track, {})[stage] = number
        return found

    def _leave_stage(self, stage: str) -> None:
        self.population[stage] -= 1
        if not self.population[stage]:
            del self.population[stage]
