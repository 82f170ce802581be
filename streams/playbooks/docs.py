"""Write docs/playbook-keys.md: `python -m streams.playbooks.docs`."""

from __future__ import annotations

from collections.abc import Iterator

from streams.playbooks.format import (
    ABANDONMENT,
    BROWSE,
    CART,
    CHECKOUT,
    FORGET,
    KEPT,
    ORDER_SKEW,
    PASSIVE,
    PLAYBOOK,
    TRACK,
    TRANSITION,
)
from streams.playbooks.key_kinds import Section
from streams.playbooks.triggers import COMPUTED, ON, STEP, TRIGGER

SECTIONS: dict[str, Section] = {
    "The file": PLAYBOOK,
    "tracks.NAME": TRACK,
    "tracks.NAME.transitions": TRANSITION,
    "passive": PASSIVE,
    "order_skew": ORDER_SKEW,
    "abandonment": ABANDONMENT,
    "abandonment.browse": BROWSE,
    "abandonment.cart": CART,
    "abandonment.checkout": CHECKOUT,
    "forget": FORGET,
    "keep.NAME": KEPT,
    "triggers.NAME": TRIGGER,
    "triggers.NAME.on": ON,
    "triggers.NAME.steps": STEP,
    "triggers.NAME.data.NAME": COMPUTED,
}
"""Every section of the format, by its title. A test checks that none is left out."""


def reference() -> str:
    """Return the page in Markdown."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# The keys of a playbook"
    yield ""
    yield "Written by `make docs` from `streams/playbooks/format.py`. [Playbooks](playbook.md) shows how to write one."
    yield "`schemas/playbook.schema.json` gives editors the same information."
    for title, section in SECTIONS.items():
        yield ""
        yield f"## {title}"
        yield ""
        yield "| key | meaning and value | default |"
        yield "|---|---|---|"
        for key in section.keys.values():
            default = "required" if key.required else f"`{key.default}`" if key.default else ""
            expected = "" if isinstance(key.kind, Section) else f" *{key.kind.expected}*"
            yield f"| `{key.name}` | {key.help}{expected} | {default} |".replace("  ", " ")


if __name__ == "__main__":
    print(reference(), end="")
