"""Reasons for rejecting an input record."""

from __future__ import annotations

from typing import Final, Literal, get_args

Reason = Literal[
    "null_value",
    "too_large",
    "not_utf8",
    "too_deep",
    "not_json",
    "not_object",
    "invalid_identity",
    "missing_time",
    "invalid_time",
    "clock_skew",
    "invalid_money",
    "unknown_currency",
    "invalid_field",
    "wrong_partition",
    "corrupt_batch",
]
REASONS: Final[tuple[Reason, ...]] = get_args(Reason)
"""The closed set: every value of the metric label and of the header `__streams.errors.reason`."""


class Rejected(Exception):
    """A record that goes to the dead-letter topic. Raised by decoders, and by the shell (`wrong_partition`).

    `detail` names the field and the mistake, never the value: it is logged, and values are personal data.
    """

    __slots__ = ("detail", "reason")

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason: Reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"
