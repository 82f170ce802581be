"""Random edits of a playbook's text: a stretch is removed, and a few pieces are put in its place."""

from __future__ import annotations

from hypothesis import strategies as st

PIECES = [
    "",
    "  ",
    "\n",
    ": ",
    "- ",
    "[",
    "{",
    "'",
    '"',
    "30d",
    "orders",
    "on",
    "off",
    "{rule: x}",
    "__import__('os')",
    "x.y.__class__",
    "|\n",
    "&",
    "*a",
    "%",
]


@st.composite
def changed(draw: st.DrawFn, text: str, first: int = 0) -> str:
    """Return the text with one change, at or after `first`."""
    start = draw(st.integers(first, len(text)))
    end = draw(st.integers(start, min(len(text), start + 40)))
    return text[:start] + "".join(draw(st.lists(st.sampled_from(PIECES), max_size=3))) + text[end:]
