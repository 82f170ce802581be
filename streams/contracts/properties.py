"""Values of properties that a playbook asks for: JSON to what rules read. Called by `native`.

A value of another kind than the playbook declares counts as absent: properties are their producer's own business, and
no reason to refuse a record.
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
    """Those of a record's properties that are wanted and of their kind; `cut` bounds texts."""
    try:
        told = _RECORD.decode(record).properties
    except msgspec.MsgspecError:  # no object
        return None
    found: dict[str, Value] = {}
    for name, type_ in wanted.items():
        raw = told.get(name)
        value = None if raw is None else read(bytes(raw), type_, currency)
        if value is not None:
            found[name] = cut(value) if isinstance(value, str) else value
    return found


def read(raw: bytes, type_: Type, currency: str) -> Value | None:
    """The value in a piece of JSON: an amount in minor units of the currency, a time (or date, then its midnight in
    UTC) in ms; None if it is of another kind."""
    try:
        if type_ is Type.MONEY:
            return money.parse(raw, currency)
        value = _SCALAR.decode(raw)
        if type_ is Type.TIME:
            return _time(value)
    except ValueError:  # msgspec's are among them
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
    return times.parse(value)
