"""What a profile has to keep for rules, beside what it always keeps."""

from __future__ import annotations

from collections.abc import Iterable


class Needs:
    """Of one rule, or of all rules of a playbook (`together`). Immutable."""

    def __init__(self, counted_types: Iterable[str] = ()) -> None:
        self.counted_types = frozenset(counted_types)
        """For `Playbook.counted_types`."""


def together(all_needs: Iterable[Needs]) -> Needs:
    """What all of them need."""
    return Needs({type_ for needs in all_needs for type_ in needs.counted_types})
