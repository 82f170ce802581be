"""Tracks of a profile other than the lifecycle track.

Profiles pack this struct field by field, in their order: append new fields with a default, never insert or remove.
"""

from __future__ import annotations

import msgspec


class TrackState(msgspec.Struct, array_like=True, gc=False):
    """The stage of a customer in one track other than the lifecycle track."""

    track: str
    stage: str | None = None
    """None before the track was entered."""
    entered_at: int = 0
    """ms"""
    sequence: int = 0
    cycle: int = 1
    orders_in_stage: int = 0
    renewals_in_stage: int = 0
