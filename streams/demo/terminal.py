"""Terminal output of the demo, made from its statistics: the screen, progress lines and the summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from streams.demo.shop_history import DemoEvent
from streams.demo.statistics import ENDS, KINDS, LATEST, MOST, STAGES, Statistics
from streams.values import show_time

BAR = 14
"""Width of the longest bar, in characters."""
FLOWS = len(STAGES)
"""Number of the most frequent stage changes that are shown."""


@dataclass(frozen=True)
class Caption:
    """Texts around the figures."""

    title: str
    """Name of the phase."""
    windows: str
    """Windows in force."""
    note: str


def render(statistics: Statistics, caption: Caption, url: str) -> RenderableType:
    """Return the screen for 80 columns and 25 lines; with 24 lines the note is cut off. `url` is the worker's."""
    upper = _side_by_side(
        (1, Panel(_stages(statistics), title="customers per stage", border_style="cyan", height=len(STAGES) + 2)),
        (1, Panel(_flows(statistics), title="flow between stages", border_style="cyan", height=len(STAGES) + 2)),
    )
    lower = _side_by_side(
        (4, Panel(_abandonments(statistics), title="abandonments", border_style="magenta", height=LATEST + 2)),
        (5, Panel(_latest(statistics), title="latest", border_style="magenta", height=LATEST + 2)),
    )
    progress = f"{statistics.processed:,} of {statistics.played:,} processed   lag {statistics.lag:,}"
    return Group(
        _line(
            caption.title,
            ("bold", f"   {statistics.rate:,.0f} events/s"),
            ("", f"   {statistics.identities['linked']:,} devices identified"),
            ("dim", "   Ctrl-C ends"),
        ),
        upper,
        lower,
        _line(f"{progress}   metrics {url}/metrics"),
        _line("", ("dim", f"windows {caption.windows}")),
        _line("", ("dim", caption.note)),
    )


def progress_line(statistics: Statistics, title: str) -> str:
    """Return one line of progress, for an output that is no terminal."""
    abandoned, recovered = statistics.count("1"), statistics.count("recovered")
    return (
        f"{title}: {statistics.processed:,} of {statistics.played:,} events, {statistics.rate:,.0f}/s, "
        f"lag {statistics.lag:,}; {statistics.flows.total():,} stage changes, {abandoned:,} abandonments, "
        f"{recovered:,} recovered"
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


def _stages(statistics: Statistics) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(min_width=11)
    table.add_column(justify="right", min_width=6)
    table.add_column()
    largest = max((statistics.stages[stage] for stage in STAGES), default=0)
    for stage in STAGES:
        count = statistics.stages[stage]
        filled = -(-BAR * count // largest) if largest else 0
        table.add_row(stage, f"{count:,}", Text("█" * filled, style="green"))
    return table


def _flows(statistics: Statistics) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right", min_width=6)
    table.add_column()
    table.add_column()
    table.add_column()
    busiest = sorted(statistics.flows.items(), key=lambda flow: (-flow[1], flow[0]))[:FLOWS]
    for (left, entered), count in busiest:
        table.add_row(f"{count:,}", left or "(new)", "→", entered or "(gone)")
    return table


def _abandonments(statistics: Statistics) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column()
    for _ in KINDS:
        table.add_column(justify="right", min_width=6)
    table.add_row("", *(Text(kind, style="dim") for kind in KINDS))
    rows = {"abandoned": "1", "2nd time": "2", "3rd time": "3"} | {what: what for what in ENDS}
    for name, what in rows.items():
        table.add_row(name, *(f"{statistics.abandonments[kind, what]:,}" for kind in KINDS))
    return table


def _latest(statistics: Statistics) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(style="dim", no_wrap=True, min_width=len("10:00:00"))
    table.add_column(no_wrap=True, overflow="ellipsis")
    one_day = len({at[:10] for at, _, _ in statistics.latest}) == 1
    for at, customer, text in statistics.latest:
        table.add_row(at[11:] if one_day else at[5:], f"{customer} {text}")
    return table


def summary(statistics: Statistics, events: Sequence[DemoEvent]) -> str:
    """Return the summary that the demo prints after the history."""
    customers = len({event.customer for event in events})
    first, last = show_time(events[0].at)[:10], show_time(events[-1].at)[:10]
    outcomes = ", ".join(f"{name} {statistics.outcomes[name]:,}" for name in ("applied", "duplicate", "rejected"))
    flows = {f"{left or '(new)'} → {entered or '(gone)'}": n for (left, entered), n in statistics.flows.most_common()}
    speed = MOST * statistics.played / max(statistics.seconds_to_99_percent, 0.1)
    reasons = f" ({_counts(statistics.dead_letters)})" if statistics.dead_letters else ""
    seconds, to_99_percent = statistics.seconds, statistics.seconds_to_99_percent
    lines = {
        "events played": f"{statistics.played:,} of {customers:,} customers, {first} to {last}",
        "processed": f"in {seconds:.1f} s, 99 % of it in {to_99_percent:.1f} s: {speed:,.0f}/s ({outcomes})",
        "identified": f"{statistics.identities['linked']:,} devices linked to customers",
        "customers": _counts({stage: statistics.stages[stage] for stage in STAGES if statistics.stages[stage]}),
        "stage changes": f"{statistics.flows.total():,} ({_counts(flows)})",
        "abandonments": f"{statistics.count('1'):,} ({_by_kind(statistics, '1')})",
        "again": f"{statistics.count('2'):,} a second time, {statistics.count('3'):,} a third time",
        "recoveries": f"{statistics.count('recovered'):,} ({_by_kind(statistics, 'recovered')})",
        "retracted": f"{statistics.count('retracted'):,}",
        "expired": f"{statistics.count('expired'):,}",
        "dead letters": f"{statistics.dead_letters.total():,}{reasons}",
    }
    return "\n".join(f"{name:<15}{text}" for name, text in lines.items())


def _by_kind(statistics: Statistics, what: str) -> str:
    return _counts({kind: statistics.abandonments[kind, what] for kind in KINDS})


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
