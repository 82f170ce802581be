"""How the demo looks: pure functions from what is known to what rich can print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from streams.demo.board import KINDS, STAGES, Board
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
    """The whole screen, 24 lines of at least 80 columns. `url` is the worker's."""
    upper = _side_by_side(
        Panel(_stages(board), title="customers per stage", border_style="cyan"),
        Panel(_flows(board), title="flow between stages", border_style="cyan"),
    )
    lower = _side_by_side(
        Panel(_abandonments(board), title="abandonments", border_style="magenta"),
        Panel(_latest(board), title="latest", border_style="magenta"),
    )
    footer = (
        Text(f"metrics {url}/metrics   Ctrl-C ends", no_wrap=True),
        Text(f"windows {caption.windows}", style="dim", no_wrap=True, overflow="ellipsis"),
        Text(caption.note, style="dim", no_wrap=True, overflow="ellipsis"),
    )
    title = Text(caption.title, style="bold", no_wrap=True)
    return Group(title, upper, lower, _figures(board), *footer)


def progress_line(board: Board, title: str) -> str:
    """One line, where there is no terminal."""
    abandoned, recovered = board.count("1"), board.count("recovered")
    return (
        f"{title}: {board.processed:,} of {board.played:,} events, {board.rate:,.0f}/s, lag {board.lag:,}; "
        f"{board.flows.total():,} stage changes, {abandoned:,} abandonments, {recovered:,} recovered"
    )


def _side_by_side(*panels: Panel) -> Table:
    grid = Table.grid(expand=True)
    for _ in panels:
        grid.add_column(ratio=1)
    grid.add_row(*panels)
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
        table.add_row(f"{count:,}", left or "(new)", "→", entered or "(forgotten)")
    return table


def _abandonments(board: Board) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), expand=False)
    table.add_column()
    for heading in ("sent", "2nd", "3rd", "recov.", "retr.", "exp."):
        table.add_column(heading, justify="right", header_style="dim")
    for kind in KINDS:
        counts = (board.abandonments[kind, what] for what in ("1", "2", "3", "recovered", "retracted", "expired"))
        table.add_row(kind, *(f"{count:,}" if count else "·" for count in counts))
    return table


def _latest(board: Board) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis")
    for at, customer, text in board.latest:
        table.add_row(at[5:], f"{customer} {text}")
    return table


def _figures(board: Board) -> Text:
    rejected = f", {board.outcomes['rejected']:,} rejected" if board.outcomes["rejected"] else ""
    return Text.assemble(
        (f"{board.rate:,.0f} events/s", "bold"),
        f"   {board.processed:,} of {board.played:,} processed{rejected}   consumer lag {board.lag:,}",
    )


def summary(board: Board, events: Sequence[Event], seconds: float) -> str:
    """What is printed after the history. `seconds` is what processing it took."""
    customers = len({event.customer for event in events})
    first, last = show_time(events[0].at)[:10], show_time(events[-1].at)[:10]
    outcomes = ", ".join(f"{name} {board.outcomes[name]:,}" for name in ("applied", "duplicate", "rejected"))
    flows = {f"{left or '(new)'} → {entered or '(forgotten)'}": n for (left, entered), n in board.flows.most_common()}
    letters = f" ({_counts(board.dead_letters)})" if board.dead_letters else ""
    lines = {
        "events played": f"{board.played:,} of {customers:,} customers, {first} to {last}",
        "processed": f"in {seconds:.1f} s, {board.played / seconds:,.0f} a second ({outcomes})",
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
