"""Values of the properties that a playbook reads, from JSON. Called by `native`.

A value of another type than the playbook declares counts as absent. Producers may put anything into properties, so they
are no reason to reject a record.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from streams.contracts import money, records, times
from streams.core.rules.types import Type

Value = bool | int | float | str

_SCALAR: Final = msgspec.json.Decoder(str | int | float | bool | None)
_RECORD: Final = msgspec.json.Decoder(records.WithProperties)
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_EPOCH: Final = datetime.date(1970, 1, 1).toordinal()
_DAY: Final = 86_400_000


def read_all(
    record: bytes, wanted: Mapping[str, Type], currency: str, cut: Callable[[str], str]
) -> dict[str, Value] | None:
    """Return the properties of a record that are wanted and of their type. `cut` shortens texts.

    Return None if the properties are not an object.
    """
    try:
        sent = _RECORD.decode(record).properties
    except msgspec.MsgspecError:  # not an object
        return None
    found: dict[str, Value] = {}
    for name, type_ in wanted.items():
        raw = sent.get(name)
        value = None if raw is None else read(bytes(raw), type_, currency)
        if value is not None:
            found[name] = cut(value) if isinstance(value, str) else value
    return found


def read(raw: bytes, type_: Type, currency: str) -> Value | None:
    """Return the value of a piece of JSON, None if it is of another type.

    An amount is in minor units of the currency. A time is in ms; a date is its midnight in UTC.
    """
    try:
        if type_ is Type.MONEY:
            return money.parse(raw, currency)
        value = _SCALAR.decode(raw)
        if type_ is Type.TIME:
            return _time(value)
    except ValueError:  # also the errors of msgspec
        return None
    if type_ is Type.BOOL:
        return value if isinstance(value, bool) else None
    if type_ is Type.NUMBER:
        return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
    return value if isinstance(value, str) else None


def _time(value: Value | None) -> int | None:
    if isinstance(value, str) and _DATE.fullmatch(value):
        return (datetime.date.fromisoformat(value).toordinal() - _EPOCH) * _DAY
    if value is None or isinstance(value, bool):
        return None
    return times.parse(value, 0 if isinstance(value, str) else times.BEGIN)  # of a birthday, say
