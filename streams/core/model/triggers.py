"""The triggers of a profile.

Profiles pack these structs field by field, in their order: append new fields with a default, never insert or remove.
"""

from __future__ import annotations

import msgspec


class TriggerRun(msgspec.Struct, array_like=True, gc=False):
    """A trigger that has begun and has steps to come."""

    begun_at: int
    """ms"""
    number: int
    """Number of times, with this one, that the trigger has begun."""
    step: int
    """Index of the next step, from 0."""
    due: int
    """Time of the next step, ms."""
    event_id: str | None
    event_type: str | None
    output_id: str | None
    """Id of the stage change or the abandonment that the run began with; None if it began with an event."""


class TriggerState(msgspec.Struct, array_like=True, gc=False):
    """The state of one trigger of one customer."""

    begun: int = 0
    """Number of times that it has begun."""
    last_at: int | None = None
    """Time at which it last began, ms."""
    runs: list[TriggerRun] = []
    due: int | None = None
    """Time at which a trigger that waits for a time begins, ms; None if no such time is known."""
    recheck_at: int | None = None
    """Time at which `due` may change without an event, ms; None: never."""


class TriggerBook(msgspec.Struct, array_like=True, gc=False):
    """The states of one customer's triggers, by name."""

    tag: int = 0
    """Fingerprint of the triggers that the book was last updated with."""
    due: int | None = None
    """The earliest time at which a trigger needs attention, ms."""
    states: dict[str, TriggerState] = {}
