"""The settings as text: `lifecycle settings`, and the reference in docs/settings.md."""

from __future__ import annotations

from collections.abc import Iterator

from streams.settings import CONFIG, FIELDS, PREFIX, About, Settings

SECTIONS = {
    "broker": "Kafka",
    "clickstream_topic": "Topics",
    "id_case": "Identifiers",
    "identity_resolution": "Identity resolution",
    "playbook": "The lifecycle",
    "lateness": "Time",
    "emit_after": "Outputs",
    "state_store": "The worker",
}
"""Headings, by the first setting of their section."""

_INTRODUCTION = f"""\
# Settings

A command reads its settings from environment variables, and from a TOML file if `{CONFIG}` names one; the
environment has precedence. In the file, the name of a setting is its variable without `{PREFIX}`, in lower case:
`lateness = "10s"`. An empty variable counts as unset. An unknown name or an invalid value is an error: the command ends
with a message that names it.

Durations are numbers with units `w`, `d`, `h`, `m`, `s`, `ms`, the largest first: `10m`, `5s`, `250ms`, `1h30m`. Sizes
are numbers with `KiB`, `MiB` or `GiB`. Times are RFC 3339 with an offset: `2026-11-21T10:00:00Z`.

`lifecycle settings` prints the values in force and their origins; `make docs` generates this page.
"""


def reference() -> str:
    """Return the text of docs/settings.md. A test compares the file with it."""
    lines = [_INTRODUCTION.rstrip()]
    for key, field in FIELDS.items():
        if key in SECTIONS:
            lines += ["", f"## {SECTIONS[key]}", "", "| variable | default | what it does |", "|---|---|---|"]
        about = _about(key)
        lines.append(
            f"| `{PREFIX}{key.upper()}` | `{about.kind.show(field.default)}` "
            f"| {about.help} *{about.kind.what}*, such as `{about.example}` |"
        )
    return "\n".join(lines) + "\n"


def current(settings: Settings, origins: dict[str, str]) -> Iterator[str]:
    """Yield the lines of `lifecycle settings`."""
    name_width = max(map(len, FIELDS)) + len(PREFIX)
    texts = {key: _about(key).kind.show(getattr(settings, key)) for key in FIELDS}
    text_width = max(map(len, texts.values()))
    for key, text in texts.items():
        if key in SECTIONS:
            yield f"\n# {SECTIONS[key]}"
        yield f"{PREFIX + key.upper():{name_width}}  {text:{text_width}}  {_origin(key, origins)}"


def _origin(key: str, origins: dict[str, str]) -> str:
    origin = origins.get(key, "default")
    return "environment" if origin.startswith(PREFIX) else origin


def _about(key: str) -> About:
    about: About = FIELDS[key].metadata["about"]
    return about
