"""Values as people write them: durations, sizes, times, addresses. Parses texts into checked values, and shows them.

Used by the settings and by the options of the command line. A parser raises a `ValueError` whose text completes the
sentence "LIFECYCLE_X=text …", so that every place reports the same mistake in the same words.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from streams.contracts import times
from streams.contracts.identity import changed_placeholders
from streams.core.model import durations

T = TypeVar("T")


@dataclass(frozen=True)
class Kind(Generic[T]):
    """Kind of value: a description, a parser, and its inverse."""

    what: str
    parse: Callable[[str], T]
    show: Callable[[T], str] = str


# ------------------------------------------------------------------------------------------------------- durations


def parse_duration(text: str) -> int:
    """Return the milliseconds of `10m`, `5s`, `250ms`, `1h30m` or `2d`."""
    milliseconds = durations.parse_duration(text)
    if milliseconds is None:
        raise ValueError("is not a duration: write a number and a unit (ms, s, m, h, d, w), such as 10m or 1h30m")
    return milliseconds


def show_duration(milliseconds: int) -> str:
    """Return the text of a duration, from days down: they are easier to compare than weeks."""
    parts = []
    for unit, size in durations.UNITS.items():
        if unit == "w":
            continue
        count, milliseconds = divmod(milliseconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def duration(at_least: int = 0) -> Kind[int]:
    """Return the kind of a duration in milliseconds."""

    def parse(text: str) -> int:
        value = parse_duration(text)
        if value < at_least:
            raise ValueError(f"is too short: the least is {show_duration(at_least)}")
        return value

    return Kind("duration", parse, show_duration)


def optional_duration() -> Kind[int | None]:
    """Return the kind of a duration in milliseconds, or None for `off`."""
    return Kind(
        "duration or off",
        lambda text: None if text.lower() == "off" else parse_duration(text),
        lambda value: "off" if value is None else show_duration(value),
    )


# ------------------------------------------------------------------------------------------------------------ times


def parse_time(text: str) -> int:
    """Return the epoch milliseconds of an RFC 3339 time with offset, rounded down."""
    try:
        return times.parse_rfc_3339(text)
    except ValueError:
        raise ValueError(
            "is not a time: write date, time with seconds and offset, such as 2026-11-21T10:00:00Z"
        ) from None


def show_time(milliseconds: int) -> str:
    """Return the time in RFC 3339, in UTC, with milliseconds."""
    return times.text(milliseconds)


def time_or(*words: str) -> Kind[int | str]:
    """Return the kind of a time in epoch milliseconds, or one of some words."""

    def parse(text: str) -> int | str:
        if text.lower() in words:
            return text.lower()
        try:
            return parse_time(text)
        except ValueError:
            raise ValueError(f"is neither {_either(words)} nor a time such as 2026-11-21T10:00:00Z") from None

    what = f"{', '.join(f'`{word}`' for word in words)} or a time"
    return Kind(what, parse, lambda value: value if isinstance(value, str) else show_time(value))


# ----------------------------------------------------------------------------------------------- numbers and words


def integer(least: int, most: int) -> Kind[int]:
    """Return the kind of a whole number within bounds."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,18}", text) or not least <= int(text) <= most:
            raise ValueError(f"is not a whole number from {least} to {most}")
        return int(text)

    return Kind(f"whole number, {least} to {most}", parse)


_SIZES = {"GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10, "B": 1}


def _parse_size(text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,9}) ?(GiB|MiB|KiB|B)", text)
    if match is None:
        raise ValueError("is not a size: write a number and KiB, MiB or GiB, such as 8MiB")
    return int(match[1]) * _SIZES[match[2]]


def _show_size(count: int) -> str:
    unit = next(unit for unit, size in _SIZES.items() if count % size == 0)
    return f"{count // _SIZES[unit]}{unit}"


SIZE = Kind("size", _parse_size, _show_size)


def word(*words: str) -> Kind[Any]:
    """Return the kind of one of some words."""

    def parse(text: str) -> str:
        if text.lower() in words:
            return text.lower()
        raise ValueError(f"is not {_either(words)}")

    return Kind(", ".join(f"`{word}`" for word in words), parse)


def _parse_switch(text: str) -> bool:
    if text.lower() not in {"on", "off"}:
        raise ValueError("is neither on nor off")
    return text.lower() == "on"


SWITCH = Kind("`on` or `off`", _parse_switch, lambda value: "on" if value else "off")


def _either(words: tuple[str, ...]) -> str:
    return " or ".join(words)


# ------------------------------------------------------------------------------------------------ names and places


def _parse_topic(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", text) or text in {".", ".."}:
        raise ValueError("is not a name that Kafka accepts: letters, digits, '.', '_' and '-', at most 249")
    return text


def _parse_application(text: str) -> str:
    if len(_parse_topic(text)) > 150:
        raise ValueError("is too long: at most 150 characters, because names of topics begin with it")
    return text


def _parse_host(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._:-]{1,253}", text):
        raise ValueError("is not a host name or address, such as 127.0.0.1")
    return text


def _parse_brokers(text: str) -> str:
    addresses = [part.strip().removeprefix("kafka://") for part in re.split("[,;]", text)]
    for address in addresses:
        match = re.fullmatch(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]{1,253}):([0-9]{1,5})", address)
        if match is None or not 0 < int(match[1]) < 65536:
            raise ValueError("is not an address: write host:port, or several of them separated by commas")
    return ",".join(addresses)


def _parse_uuid(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise ValueError("is not a UUID, such as 6ba7b810-9dad-11d1-80b4-00c04fd430c8") from None


def _parse_currency(text: str) -> str:
    if not re.fullmatch("[A-Z]{3}", text):
        raise ValueError("is not an ISO 4217 code of three capital letters, such as EUR")
    return text


def _parse_reference(text: str) -> str:
    if not re.fullmatch(r"[!#-;=?-Z_a-z~\[\]]+", text):
        raise ValueError("is not a URI reference, such as /lifecycle-streams")
    return text


def parse_path(text: str) -> Path:
    """Return a path of the file system, with `~` expanded."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError("names an unknown home directory") from None


TOPIC = Kind("topic name", _parse_topic)
APPLICATION = Kind("name", _parse_application)
HOST = Kind("host", _parse_host)
BROKERS = Kind("host:port, …", _parse_brokers)
UUID = Kind("UUID", _parse_uuid)
CURRENCY = Kind("ISO 4217 code", _parse_currency)
REFERENCE = Kind("URI reference", _parse_reference)
PATH = Kind("path", parse_path)
SECRET: Kind[str | None] = Kind(
    "secret text, or `none`",
    lambda text: None if text == "none" else text,
    lambda value: "none" if value is None else "(secret)",
)
SOURCE = Kind("name or path", str)


def _parse_placeholders(text: str) -> tuple[str, ...]:
    if text.lower() == "none":
        return ()
    changes = tuple(part.strip() for part in text.split(","))
    try:
        changed_placeholders(changes)
    except ValueError as error:
        raise ValueError(f"cannot be used: {error}") from None
    return changes


PLACEHOLDERS: Kind[tuple[str, ...]] = Kind(
    "changes of a list, or `none`", _parse_placeholders, lambda changes: ",".join(changes) or "none"
)
