"""What values of rules are."""

from __future__ import annotations

import enum
from typing import Final, Literal


class Type(enum.Enum):
    """Money is in minor units of the playbook's currency, durations and times are in ms."""

    BOOL = "yes or no"
    NUMBER = "a number"
    MONEY = "an amount of money"
    DURATION = "a duration"
    TIME = "a time"
    TEXT = "a text"

    @property
    def kind(self) -> Literal["bool", "number", "money", "duration", "time", "text"]:
        """As outputs name it."""
        return _KINDS[self]


_KINDS: Final[dict[Type, Literal["bool", "number", "money", "duration", "time", "text"]]] = {
    Type.BOOL: "bool",
    Type.NUMBER: "number",
    Type.MONEY: "money",
    Type.DURATION: "duration",
    Type.TIME: "time",
    Type.TEXT: "text",
}
