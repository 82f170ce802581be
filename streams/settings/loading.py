"""Reads settings from the environment and from a TOML file."""

from __future__ import annotations

import datetime
import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from streams import values
from streams.errors import UserError
from streams.settings.table import CONFIG, FIELDS, PREFIX, Settings


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read and check the settings. Called once by each command. Raises `UserError` for the first mistake."""
    return load_with_origins(environ)[0]


def load_with_origins(environ: Mapping[str, str] | None = None) -> tuple[Settings, dict[str, str]]:
    """Return the settings, and the origin of each that is not the default: its variable, or the path of the file.

    Raises `UserError` as `load` does.
    """
    found: dict[str, Any] = {}
    origins: dict[str, str] = {}
    environ = os.environ if environ is None else environ
    for key, origin, subject, text in (*_from_file(environ.get(CONFIG, "")), *_from_environment(environ)):
        try:
            found[key] = FIELDS[key].metadata["about"].kind.parse(text)
        except ValueError as error:
            raise UserError(f"{subject} {error}.") from None
        origins[key] = origin
    settings = Settings(**found)
    _check(settings)
    return settings, origins


def _from_environment(environ: Mapping[str, str]) -> Iterator[tuple[str, str, str, str]]:
    for variable, value in sorted(environ.items()):
        if not variable.startswith(PREFIX) or variable == CONFIG or _KUBERNETES_LINK.search(variable):
            continue
        key = variable.removeprefix(PREFIX).lower()
        if key not in FIELDS or variable != PREFIX + key.upper():
            raise UserError(
                f"{variable} is not a setting{_suggestion(variable, [PREFIX + key.upper() for key in FIELDS])}"
            )
        if text := value.strip():  # empty is unset, as `${X:-}` of Compose files leaves it
            yield key, variable, f"{variable}={text}", text


_KUBERNETES_LINK = re.compile(r"(_SERVICE_HOST|_SERVICE_PORT(_\w+)?|_PORT_\d+_(TCP|UDP|SCTP)(_\w+)?|^LIFECYCLE_PORT)$")
"""Variables that Kubernetes sets in every container for a Service whose name begins with `lifecycle`."""


def _from_file(name: str) -> Iterator[tuple[str, str, str, str]]:
    if not name:
        return
    try:
        with Path(name).open("rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise UserError(f"{CONFIG}={name} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{CONFIG}={name} is not TOML: {error}.") from None
    for key, value in table.items():
        if key not in FIELDS:
            raise UserError(f"{key} in {name} is not a setting{_suggestion(key, list(FIELDS))}")
        text = _as_text(value)
        if text is None:
            example = FIELDS[key].metadata["about"].example
            raise UserError(f"{key} in {name} is a {type(value).__name__}: write a text, such as {example!r}.")
        yield key, name, f"{key} = {text!r} in {name}", text


def _as_text(value: object) -> str | None:
    """Return a TOML value as it would be written in the environment; None if it cannot be."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, str | int):
        return str(value)
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return ",".join(value)
    return None


def _suggestion(name: str, names: list[str]) -> str:
    """Return the end of the sentence "… is not a setting"."""
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.75)
    return f": did you mean {close[0]}?" if close else ": `lifecycle settings` lists all of them."


def _check(settings: Settings) -> None:
    """Raise `UserError` if settings contradict each other."""
    if settings.heartbeat_interval * 3 > settings.session_timeout:
        raise UserError(
            f"{PREFIX}HEARTBEAT_INTERVAL={values.show_duration(settings.heartbeat_interval)} is more than a third of "
            f"{PREFIX}SESSION_TIMEOUT={values.show_duration(settings.session_timeout)}: lower the first or raise the "
            "second."
        )
    taken: dict[str, str] = {}
    for key, topic in settings.topics.items():
        if topic in taken:
            raise UserError(
                f"{PREFIX}{key.upper()} and {PREFIX}{taken[topic].upper()} are both {topic}: give each its own topic."
            )
        taken[topic] = key
