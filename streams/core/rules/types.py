"""The types of the values of rules."""

from __future__ import annotations

import enum
from typing import Final, Literal


class Type(enum.Enum):
    """The type of a value. Money is in minor units of the playbook's currency; durations and times are in ms.

    The text of a member names the type in error messages.
    """

    BOOL = "a yes-or-no value"
    NUMBER = "a number"
    MONEY = "an amount of money"
    DURATION = "a duration"
    TIME = "a time"
    TEXT = "a text"

    @property
    def kind(self) -> Literal["bool", "number", "money", "duration", "time", "text"]:
        """Name of the type in outputs."""
        return _KINDS[self]


_KINDS: Final[dict[Type, Literal["bool", "number", "money", "duration", "time", "text"]]] = {
    Type.BOOL: "bool",
    Type.NUMBER: "number",
    Type.MONEY: "money",
    Type.DURATION: "duration",
    Type.TIME: "time",
    Type.TEXT: "text",
}
