"""The figures in docs/chaos.md. `python -m tests.docs.chaos_report` writes them, for `make docs`."""

from __future__ import annotations

import re

from tests.chaos.table import read, table
from tests.support.documentation import ROOT

PAGE = ROOT / "docs" / "chaos.md"
VERDICTS = ROOT / "docs" / "chaos.jsonl"
NONE_YET = "No figures are kept yet.\n"
BLOCK = re.compile(r"(?<=what `make chaos` wrote -->\n).*?(?=<!-- end of chaos figures -->)", re.DOTALL)


def with_figures(text: str) -> str:
    """Return the page with the figures of the latest verdicts."""
    figures = table(read(VERDICTS)) if VERDICTS.exists() else NONE_YET
    written, blocks = BLOCK.subn(lambda _: figures, text)
    assert blocks == 1
    return written


if __name__ == "__main__":
    PAGE.write_text(with_figures(PAGE.read_text()))
