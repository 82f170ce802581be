"""What a rule looks at."""

from __future__ import annotations

from streams.core.model.event import Event
from streams.core.profile.profile import Profile


class EvalContext:
    """A customer, after the event at hand was applied (`event` is None at a deadline), as of `at`, ms.

    `at` is the customer's newest event time or the deadline; `active` says whether the event is activity (not passive).
    Made by `customer.Lifecycle`, which may use one again and again: rules keep nothing of it.
    """

    def __init__(self, profile: Profile, event: Event | None, at: int, active: bool = False) -> None:
        self.profile = profile
        self.event = event
        self.at = at
        self.active = active
        self.begun_at = -1
        """Of a trigger's rule: when the trigger began, ms; -1: it did not yet."""
        self.merged: str | None = None
        """The anonymous id whose profile was merged into the customer's, if that is what happened."""
