"""The report of a backtest: one self-contained HTML file for the owner of the playbook.

All text from a log or a playbook is escaped. Ids are the only personal data on the page.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final

from streams.core.model.policy import DAY
from streams.replay import svg_plots
from streams.replay.comparison import Differences, Reason, ReasonGroup
from streams.replay.output_collector import GONE, Collector, Customer, CustomerOutput, Series
from streams.replay.summary import Tally
from streams.replay.svg_plots import Buckets
from streams.values import show_duration, show_time

_CSS: Final = Path(__file__).with_name("page.css")
MOST_FLOWS: Final = 40
MOST_REASONS: Final = 15
_AROUND: Final = 2
"""Equal outputs shown around a difference."""
_MOST_ROWS: Final = 60


@dataclass
class Findings:
    """Content of a report. `old` and `differences` are None if only one playbook was run."""

    tally: Tally
    days: range
    """Days since the epoch, from the first event or output to the last."""
    new_name: str
    new: Collector
    old_name: str = ""
    old: Collector | None = None
    differences: Differences | None = None


def page(findings: Findings) -> str:
    """Return the whole file."""
    title = f"{findings.new_name} on history"
    body = "".join(_body(findings))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<style>{_CSS.read_text()}</style></head><body><main>{body}</main></body></html>\n"
    )


def _body(findings: Findings) -> Iterator[str]:
    buckets = Buckets.of(findings.days)
    yield from _headline(findings)
    yield from _stages(findings, buckets)
    yield from _outputs(findings, buckets)
    yield from _flows(findings)
    if findings.differences is not None:
        yield from _differences(findings, findings.differences)
    tally = findings.tally
    rejected = f", {tally.rejected.total():,} rejected" if tally.rejected else ""
    yield f"<footer>{tally.valid:,} events{rejected}. Times are UTC. Made by lifecycle backtest.</footer>"


# ------------------------------------------------------------------------------------------------------- headline


def _headline(findings: Findings) -> Iterator[str]:
    new, old, tally = findings.new, findings.old, findings.tally
    customers = _customers(new)
    if findings.differences is None:
        yield f"<h1>{escape(findings.new_name)}, tried on history</h1>"
    else:
        differ = findings.differences.customers
        share = f" ({differ / customers:.1%})" if customers else ""
        sentence = (
            f"{differ:,} of {customers:,} customers{share} would fare differently" if differ else "Nobody would notice"
        )
        yield f"<h1>{sentence}</h1>"
        yield (
            f'<p class="lead">under <b>{escape(findings.new_name)}</b> than under '
            f"<b>{escape(findings.old_name)}</b>.</p>"
        )
    if tally.first is not None and tally.last is not None:
        yield f'<p class="soft">{svg_plots.date(tally.first // DAY)} to {svg_plots.date(tally.last // DAY)}</p>'
    yield '<div class="facts">'
    yield _fact(f"{tally.valid:,}", "events")
    yield _fact(f"{customers:,}", "customers seen")
    for label in ("stage changes", "abandonments", "recovered", "triggers"):
        numbers = [
            sum(side.total(series) for series in side.daily if _kind(series) == label) for side in (new, old) if side
        ]
        if any(numbers):
            before = f" · before {numbers[1]:,}" if len(numbers) > 1 and numbers[0] != numbers[1] else ""
            yield _fact(f"{numbers[0]:,}", f"{label}{before}")
    yield "</div>"


def _kind(series: Series) -> str | None:
    """Return the headline number that a series counts towards. An abandonment counts once, at step 1."""
    if series.group == "triggers":
        return "triggers"
    if series.group != "abandonments":
        return "stage changes"
    if series.name.endswith(" recovered"):
        return "recovered"
    return "abandonments" if series.name.endswith(" abandoned") and series.detail in ("", "step 1") else None


def _fact(number: str, label: str) -> str:
    return f'<div class="card fact"><b>{number}</b><span>{escape(label)}</span></div>'


def _customers(side: Collector) -> int:
    """Return the number of customers who entered the first track. A customer who returns after being forgotten counts
    again.
    """
    first = next(iter(side.moved), None)
    return sum(count for (track, left, _), count in side.flows.items() if track == first and left is None)


# --------------------------------------------------------------------------------------------- customers per stage


def _stages(findings: Findings, buckets: Buckets) -> Iterator[str]:
    sides = [(findings.new_name, findings.new)]
    if findings.old is not None:
        sides.insert(0, (findings.old_name, findings.old))
    for track in dict.fromkeys(track for _, side in sides for track in side.tracks()):
        stages = list(dict.fromkeys(stage for _, side in sides for stage in side.moved.get(track, {})))
        ends = []
        for _, side in sides:
            found = {
                stage: buckets.ends(values, findings.days) for stage, values in side.population(track, findings.days)
            }
            ends.append({stage: found.get(stage, [0] * buckets.number) for stage in stages})
        top = max(sum(values[n] for values in side.values()) for side in ends for n in range(buckets.number))
        yield f'<h2>Customers by stage: {escape(track)}</h2><p class="soft">At the end of each {buckets.unit}.</p>'
        yield '<div class="two">'
        for (name, _), values in zip(sides, ends, strict=True):
            layers = [(stage, stages.index(stage), values[stage]) for stage in stages]
            plot = svg_plots.areas(layers, buckets, top, f"Customers by stage of {track}, {name}")
            yield f'<div class="card"><h3>{escape(name)}</h3>{plot}</div>'
        yield f'<div class="card wide">{_population(stages, ends, [name for name, _ in sides])}</div></div>'


def _population(stages: Sequence[str], ends: Sequence[dict[str, list[int]]], names: Sequence[str]) -> str:
    rows = []
    for n, stage in enumerate(stages):
        numbers = [side[stage][-1] for side in ends]
        cells = "".join(f'<td class="num">{number:,}</td>' for number in numbers)
        if len(numbers) > 1:
            cells += f'<td class="num">{_delta(numbers[1], numbers[0])}</td>'
        rows.append(f'<tr><td><i class="dot f{n % svg_plots.COLOURS}"></i>{escape(stage)}</td>{cells}</tr>')
    head = "".join(f'<th class="num">{escape(name)}</th>' for name in names) + ("<th></th>" if len(names) > 1 else "")
    return f'<div class="scroll"><table><tr><th>at the end</th>{head}</tr>{"".join(rows)}</table></div>'


def _delta(new: int, old: int) -> str:
    if new == old:
        return '<span class="delta same">=</span>'
    share = f" ({(new - old) / old:+.0%})" if old else ""
    return f'<span class="delta">{new - old:+,}{share}</span>'


# ----------------------------------------------------------------------------------------------- outputs over time


def _outputs(findings: Findings, buckets: Buckets) -> Iterator[str]:
    new, old = findings.new, findings.old
    known = dict.fromkeys([*new.daily, *(old.daily if old is not None else ())])
    groups: dict[str, list[Series]] = {}
    for series in known:
        groups.setdefault(series.group, []).append(series)
    order = sorted(groups, key=lambda group: (group == "abandonments", group == "triggers"))
    yield f'<h2>What would be sent</h2><p class="soft">Outputs of each {buckets.unit}.</p>'
    if old is not None:
        yield (
            f'<span class="key"><i></i>{escape(findings.new_name)}</span>'
            f'<span class="key"><i class="line"></i>{escape(findings.old_name)}</span>'
        )
    for group in order:
        yield f'<h3 class="below">{escape(group)}</h3><div class="grid">'
        for series in sorted(groups[group], key=lambda series: (-new.total(series), series)):
            now = buckets.sums(new.daily.get(series, {}))
            before = None if old is None else buckets.sums(old.daily.get(series, {}))
            total = f"{new.total(series):,}"
            change = "" if old is None else _delta(new.total(series), old.total(series))
            plot = svg_plots.bars(now, before, buckets, f"{group}: {series.label}")
            yield (
                f'<div class="card"><header><h3>{escape(series.label)}</h3><b class="num">{total}</b></header>'
                f"{change}{plot}</div>"
            )
        yield "</div>"


# --------------------------------------------------------------------------------------------------- stage changes


def _flows(findings: Findings) -> Iterator[str]:
    new, old = findings.new.flows, findings.old.flows if findings.old is not None else None
    for track in dict.fromkeys(track for track, _, _ in [*new, *(old or ())]):
        pairs = {(left, to) for of_track, left, to in [*new, *(old or ())] if of_track == track and left is not None}
        ranked = sorted(pairs, key=lambda pair: (-max(new[(track, *pair)], old[(track, *pair)] if old else 0), pair))
        if not ranked:
            continue
        most = max(max(new[(track, *pair)], old[(track, *pair)] if old else 0) for pair in ranked)
        head = f'<th class="num">{escape(findings.old_name)}</th>' if old is not None else ""
        change = "<th></th>" if old is not None else ""
        yield (
            f'<h2>From stage to stage: {escape(track)}</h2><div class="card scroll below"><table>'
            f'<tr><th>from</th><th>to</th>{head}<th class="num">{escape(findings.new_name)}</th>{change}'
            '<th class="bar"></th></tr>'
        )
        for left, to in ranked[:MOST_FLOWS]:
            count = new[track, left, to]
            cells = f'<td class="num">{count:,}</td>'
            bar = f'<i style="width:{100 * count / most:.1f}%"></i>'
            if old is not None:
                before = old[track, left, to]
                cells = f'<td class="num">{before:,}</td>{cells}<td class="num">{_delta(count, before)}</td>'
                bar = f'<i class="old" style="width:{100 * before / most:.1f}%"></i>{bar}'
            yield f'<tr><td>{escape(str(left))}</td><td>{escape(to)}</td>{cells}<td class="bar">{bar}</td></tr>'
        yield "</table>"
        if len(ranked) > MOST_FLOWS:
            yield f'<p class="soft">and {len(ranked) - MOST_FLOWS} rarer ones</p>'
        yield "</div>"


# ----------------------------------------------------------------------------------------------------- differences


def _differences(findings: Findings, differences: Differences) -> Iterator[str]:
    yield "<h2>Who fares differently, and why</h2>"
    if not differences.customers:
        yield '<p class="soft">Both playbooks say the same of every customer.</p>'
        return
    yield '<p class="soft">Grouped by the first difference. The stories show what follows from it.</p>'
    assert findings.old is not None
    shown = list(differences.by_reason.items())[:MOST_REASONS]
    examples = {customer for _, group in shown for customer in group.examples}
    old, new = findings.old.stories(examples), findings.new.stories(examples)
    for n, (reason, group) in enumerate(shown):
        typical = ""
        if group.shifts:
            typical = f", typically by {show_duration(_rounded(statistics.median_low(group.shifts)))}"
        yield (
            f'<details class="card"{" open" if n == 0 else ""}><summary>{escape(reason.label)} '
            f'<span class="soft">{_group(reason)} · {_count(group)}{typical}</span></summary>'
        )
        for customer in group.examples:
            yield from _story(findings, customer, old[customer], new[customer])
        yield "</details>"
    rest = sum(group.count for group in list(differences.by_reason.values())[MOST_REASONS:]) + differences.not_kept
    if rest:
        yield f'<p class="soft below">and {rest:,} customers for other reasons, or for reasons that were not kept</p>'


def _group(reason: Reason) -> str:
    return escape(reason.series.group)


def _count(group: ReasonGroup) -> str:
    return f"{group.count:,} customer{'' if group.count == 1 else 's'}"


def _rounded(milliseconds: int) -> int:
    """Round a duration for people: days to hours, hours to minutes."""
    unit = 3_600_000 if milliseconds >= DAY else 60_000 if milliseconds >= 3_600_000 else 1_000
    return max(milliseconds // unit, 1) * unit


def _story(
    findings: Findings, customer: Customer, old: list[CustomerOutput], new: list[CustomerOutput]
) -> Iterator[str]:
    kind = "" if customer.identified else ' <span class="soft">(anonymous)</span>'
    yield (
        f'<div class="story scroll"><h3>{escape(customer.id)}{kind}</h3><table><tr><th>at</th>'
        f"<th>{escape(findings.old_name)}</th><th>{escape(findings.new_name)}</th></tr>"
    )
    rows = list(_rows(old, new))
    differ = [n for n, (before, after) in enumerate(rows) if before is None or after is None]
    keep = {m for n in differ for m in range(n - _AROUND, n + _AROUND + 1)}
    skipped = shown = 0
    for n, (before, after) in enumerate(rows):
        if n not in keep or shown >= _MOST_ROWS:
            skipped += 1
            continue
        if skipped:
            yield _skipped(skipped)
            skipped = 0
        shown += 1
        output = before or after
        assert output is not None
        yield f"<tr><td>{_time(output.dated.at)}</td>{_cell(before, after)}{_cell(after, before)}</tr>"
    if skipped:
        yield _skipped(skipped)
    yield "</table></div>"


def _rows(
    old: list[CustomerOutput], new: list[CustomerOutput]
) -> Iterator[tuple[CustomerOutput | None, CustomerOutput | None]]:
    """Yield the outputs of both sides in the order of time, one row each. Equal outputs share a row."""
    waiting = list(new)
    rows: list[tuple[CustomerOutput | None, CustomerOutput | None]] = []
    for output in old:
        same = next((other for other in waiting if other.dated == output.dated), None)
        if same is not None:
            waiting.remove(same)
        rows.append((output, same))
    rows += [(None, output) for output in waiting]
    yield from sorted(rows, key=lambda row: max(output.dated.at for output in row if output is not None))


def _cell(output: CustomerOutput | None, other: CustomerOutput | None) -> str:
    if output is None:
        return "<td></td>"
    series = output.dated.series
    what = f"leaves {series.group}" if series.name == GONE else series.label
    small = f"<small>{escape(output.why)}</small>" if other is None and output.why else ""
    return f'<td class="{"same" if other is not None else "only"}">{escape(what)}{small}</td>'


def _skipped(count: int) -> str:
    return f'<tr><td></td><td colspan="2" class="soft">… {count:,} more</td></tr>'


def _time(at: int) -> str:
    return show_time(at)[:16].replace("T", " ")
