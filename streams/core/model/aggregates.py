"""Aggregates of a profile's events, kept for the rules of a playbook.

Profiles pack these structs field by field, in their order: append new fields with a default, never insert or remove.
"""

from __future__ import annotations

import msgspec


class Occurrences(msgspec.Struct, array_like=True, gc=False):
    """The number of times that something was done, and the first and the last time, ms."""

    times: int
    first: int
    last: int


class Credit(msgspec.Struct, array_like=True, gc=False):
    """The rest of a store credit, in minor units of the playbook's currency."""

    id: str | None
    amount: int
    expires_at: int


class Aggregates(msgspec.Struct, array_like=True):
    """Aggregates of one customer that the rules of a playbook read (`streams.core.lifecycle.aggregates`).

    All of them can be merged with another customer's: numbers are added, time spans widened, the latest values kept.
    """

    windows: dict[str, dict[int, int]] = {}
    """Numbers or amounts of each rolling window, by bucket of time."""
    sums: dict[str, int] = {}
    """Total amounts, by event type."""
    in_stage: dict[str, int] = {}
    """Events since a track's stage was entered, by track and event type."""
    categories_bought: dict[str, Occurrences] = {}
    products_bought: dict[str, Occurrences] = {}
    categories_viewed: dict[str, Occurrences] = {}
    kept: dict[str, tuple[bool | int | float | str, int]] = {}
    """The latest value of each property that is kept, and the time of its event, ms."""
    credits: list[Credit] = []
    """Store credits, earliest to expire first."""
