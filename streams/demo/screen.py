"""How the demo looks: pure functions from what is known to what rich can print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from streams.demo.board import ENDS, KINDS, LATEST, MOST, STAGES, Board
from streams.demo.data import Event
from streams.values import show_time

BAR = 14
FLOWS = len(STAGES)


@dataclass(frozen=True)
class Caption:
    """The words around the figures."""

    title: str
    """What is being played."""
    windows: str
    """Which windows are in force."""
    note: str


def render(board: Board, caption: Caption, url: str) -> RenderableType:
    """The whole screen, made for 80 columns and 25 lines: on 24 the note is cut off. `url` is the worker's."""
    upper = _side_by_side(
        (1, Panel(_stages(board), title="customers per stage", border_style="cyan", height=len(STAGES) + 2)),
        (1, Panel(_flows(board), title="flow between stages", border_style="cyan", height=len(STAGES) + 2)),
    )
    lower = _side_by_side(
        (4, Panel(_abandonments(board), title="abandonments", border_style="magenta", height=LATEST + 2)),
        (5, Panel(_latest(board), title="latest", border_style="magenta", height=LATEST + 2)),
    )
    return Group(
        _line(
            caption.title,
            ("bold", f"   {board.rate:,.0f} events/s"),
            ("", f"   {board.identities['linked']:,} devices known"),
            ("dim", "   Ctrl-C ends"),
        ),
        upper,
        lower,
        _line(f"{board.processed:,} of {board.played:,} processed   lag {board.lag:,}   metrics {url}/metrics"),
        _line("", ("dim", f"windows {caption.windows}")),
        _line("", ("dim", caption.note)),
    )


def progress_line(board: Board, title: str) -> str:
    """One line, where there is no terminal."""
    abandoned, recovered = board.count("1"), board.count("recovered")
    return (
        f"{title}: {board.processed:,} of {board.played:,} events, {board.rate:,.0f}/s, lag {board.lag:,}; "
        f"{board.flows.total():,} stage changes, {abandoned:,} abandonments, {recovered:,} recovered"
    )


def _line(text: str, *styled: tuple[str, str]) -> Text:
    parts = [(more, style) for style, more in styled]
    return Text.assemble(text, *parts, no_wrap=True, overflow="ellipsis")


def _side_by_side(*panels: tuple[int, Panel]) -> Table:
    grid = Table.grid(expand=True)
    for ratio, _ in panels:
        grid.add_column(ratio=ratio)
    grid.add_row(*(panel for _, panel in panels))
    return grid


def _stages(board: Board) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(min_width=11)
    table.add_column(justify="right", min_width=6)
    table.add_column()
    most = max((board.stages[stage] for stage in STAGES), default=0)
    for stage in STAGES:
        count = board.stages[stage]
        filled = -(-BAR * count // most) if most else 0
        table.add_row(stage, f"{count:,}", Text("█" * filled, style="green"))
    return table


def _flows(board: Board) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right", min_width=6)
    table.add_column()
    table.add_column()
    table.add_column()
    busiest = sorted(board.flows.items(), key=lambda flow: (-flow[1], flow[0]))[:FLOWS]
    for (left, entered), count in busiest:
        table.add_row(f"{count:,}", left or "(new)", "→", entered or "(gone)")
    return table


def _abandonments(board: Board) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column()
    for _ in KINDS:
        table.add_column(justify="right", min_width=6)
    table.add_row("", *(Text(kind, style="dim") for kind in KINDS))
    rows = {"abandoned": "1", "2nd time": "2", "3rd time": "3"} | {what: what for what in ENDS}
    for name, what in rows.items():
        table.add_row(name, *(f"{board.abandonments[kind, what]:,}" for kind in KINDS))
    return table


def _latest(board: Board) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(style="dim", no_wrap=True, min_width=len("10:00:00"))
    table.add_column(no_wrap=True, overflow="ellipsis")
    one_day = len({at[:10] for at, _, _ in board.latest}) == 1
    for at, customer, text in board.latest:
        table.add_row(at[11:] if one_day else at[5:], f"{customer} {text}")
    return table


def summary(board: Board, events: Sequence[Event]) -> str:
    """What is printed after the history."""
    customers = len({event.customer for event in events})
    first, last = show_time(events[0].at)[:10], show_time(events[-1].at)[:10]
    outcomes = ", ".join(f"{name} {board.outcomes[name]:,}" for name in ("applied", "duplicate", "rejected"))
    flows = {f"{left or '(new)'} → {entered or '(gone)'}": n for (left, entered), n in board.flows.most_common()}
    speed = MOST * board.played / max(board.most_took, 0.1)
    letters = f" ({_counts(board.dead_letters)})" if board.dead_letters else ""
    lines = {
        "events played": f"{board.played:,} of {customers:,} customers, {first} to {last}",
        "processed": f"in {board.took:.1f} s, 99 % of it in {board.most_took:.1f} s: {speed:,.0f}/s ({outcomes})",
        "who is who": f"{board.identities['linked']:,} devices turned out to be a customer's",
        "customers": _counts({stage: board.stages[stage] for stage in STAGES if board.stages[stage]}),
        "stage changes": f"{board.flows.total():,} ({_counts(flows)})",
        "abandonments": f"{board.count('1'):,} ({_by_kind(board, '1')})",
        "again": f"{board.count('2'):,} a second time, {board.count('3'):,} a third time",
        "recoveries": f"{board.count('recovered'):,} ({_by_kind(board, 'recovered')})",
        "retracted": f"{board.count('retracted'):,}",
        "expired": f"{board.count('expired'):,}",
        "dead letters": f"{board.dead_letters.total():,}{letters}",
    }
    return "\n".join(f"{name:<15}{text}" for name, text in lines.items())


def _by_kind(board: Board, what: str) -> str:
    return _counts({kind: board.abandonments[kind, what] for kind in KINDS})


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
