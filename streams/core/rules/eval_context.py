"""The context in which a rule is evaluated."""

from __future__ import annotations

from streams.core.model.event import Event
from streams.core.profile.profile import Profile


class EvalContext:
    """A customer at the time `at` (ms), after the current event was applied. `event` is None at a deadline.

    `at` is the customer's newest event time or the deadline. `active` is True if the event is activity (not passive).
    The lifecycle reuses one context for all evaluations, so rules must keep no reference to it.
    """

    def __init__(self, profile: Profile, event: Event | None, at: int, active: bool = False) -> None:
        self.profile = profile
        self.event = event
        self.at = at
        self.active = active
        self.begun_at = -1
        """For the rules of a trigger: the time at which the trigger began, ms; -1 before it has begun."""
        self.merged: str | None = None
        """After a merge: the anonymous id whose profile was merged into the customer's; else None."""
