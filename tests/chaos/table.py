"""The table of docs/chaos.md, from the file of verdicts that `make chaos` writes.

    python -m tests.chaos.table docs/chaos.jsonl

Of several verdicts of one program, mode and length the last counts.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec

from tests.chaos.catalogue import PROGRAMS
from tests.chaos.programs import MODES, Program
from tests.chaos.verdict import Verdict

COLUMNS = {
    "events": "events",
    "outputs": "outputs",
    "missing": "lost",
    "wrong_profiles": "wrong profiles",
    "false_abandonments": "false abandonments",
    "early": "early",
    "repeated": "repeated",
    "orphaned": "orphaned",
}


def read(path: Path) -> list[Verdict]:
    """Return the verdicts of a file."""
    decoder = msgspec.json.Decoder(Verdict)
    return [decoder.decode(line) for line in path.read_bytes().splitlines() if line]


def table(verdicts: Iterable[Verdict]) -> str:
    """Return the table in Markdown, with programs in the order of the list."""
    last = {(verdict.program, verdict.mode, *verdict.amounts.items()): verdict for verdict in verdicts}
    rows = [
        ["what is done", "mode", "how much", *COLUMNS.values(), "", "run"],
        ["---", "---", "---", *["---:"] * len(COLUMNS), "---", "---"],
    ]
    for program in PROGRAMS.values():
        for mode in MODES:
            for verdict in (v for v in last.values() if (v.program, v.mode) == (program.name, mode)):
                rows.append(
                    [
                        f"{program.says} (`{program.name}`)",
                        f"`{mode}`",
                        how_much(verdict, program),
                        *(f"{getattr(verdict, name):,}" for name in COLUMNS),
                        "ok" if verdict.ok else "**failed**",
                        f"{verdict.date} `{verdict.commit}`" if verdict.commit else verdict.date,
                    ]
                )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def how_much(verdict: Verdict, program: Program) -> str:
    """Return the amounts asked for, those of the long version if they differ, the work done, and the measurements
    against a bound."""
    asked = [
        f"{name} {figure:,g}" + (f" of {whole:,g}" if (whole := program.long.get(name, figure)) != figure else "")
        for name, figure in verdict.amounts.items()
    ]
    done = [f"{name} {figure:,g}" for name, figure in verdict.harm.items() if name not in verdict.amounts]
    return "; ".join(asked + done + verdict.bounds("{name}: {measured:,g} (at {end} {bound:,g})"))


if __name__ == "__main__":
    print(table(read(Path(sys.argv[1]))), end="")
