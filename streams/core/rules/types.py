"""What values of rules are."""

from __future__ import annotations

import enum


class Type(enum.Enum):
    """Money is in minor units of the playbook's currency, durations and times are in ms."""

    BOOL = "yes or no"
    NUMBER = "a number"
    MONEY = "an amount of money"
    DURATION = "a duration"
    TIME = "a time"
    TEXT = "a text"
