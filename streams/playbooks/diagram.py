"""A track as a diagram, drawn from the tables that the engine runs: SVG, without a library or a script.

Each stage is a card that lists the transitions into it. Lines lead from the source stages to the card: on the right for
transitions after events, on the left for timeout transitions. A line has the colour of its target and its own lane.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from html import escape
from typing import Final, NamedTuple

from streams.playbooks.transition_rows import TransitionRow

CARD: Final = 380
"""Width of a card. All widths, heights and distances are pixels."""
HEAD: Final = 40
LINE: Final = 17
ROW_GAP: Final = 9
GAP: Final = 22
LANE: Final = 13
STUB: Final = 5
MARGIN: Final = 26
RADIUS: Final = 7
WRAP: Final = 42
"""Most characters of a rule in a line."""
COLOURS: Final = 10

STYLE: Final = """
svg{--bg:#fbfaf8;--card:#fff;--text:#1d2129;--soft:#667085;--edge:#dcd8cf}
svg{font:13px ui-monospace,SFMono-Regular,Menlo,monospace}
@media(prefers-color-scheme:dark){svg{--bg:#12141a;--card:#1b1e27;--text:#e8eaf0;--soft:#98a1b3;--edge:#333947}}
.bg{fill:var(--bg)}.card{fill:var(--card);stroke:var(--edge)}.rule{fill:var(--soft)}
.stage{fill:var(--text);font:600 16px system-ui,sans-serif}.title{fill:var(--text);font:600 22px system-ui,sans-serif}
.note{fill:var(--soft);font:13px system-ui,sans-serif}.halo{stroke:var(--bg);stroke-width:6;fill:none}
.lane{fill:none;stroke-width:2;stroke-linejoin:round}.late .lane{stroke-dasharray:5 4}
.row:hover .lane{stroke-width:4}.row:hover .rule{fill:var(--text)}
.k0{--k:#4269d0}.k1{--k:#d99a08}.k2{--k:#ff725c}.k3{--k:#3fae97}.k4{--k:#3ca951}.k5{--k:#f06fa2}.k6{--k:#a463f2}.k7{--k:#5b9bef}
.k8{--k:#9c6b4e}.k9{--k:#8a8f99}.lane{stroke:var(--k)}.head,.tip{fill:var(--k)}
"""


class _Card(NamedTuple):
    """A stage with its position."""

    stage: str
    top: int
    height: int
    rows: list[tuple[TransitionRow, int, list[str]]]
    """The transitions into the stage: the row, its y, the lines of its text."""


def draw(title: str, note: str, initial: str, stages: Sequence[str], rows: Sequence[TransitionRow]) -> str:
    """Return the SVG document of one track."""
    ordered = arrange(initial, stages, rows)
    cards = list(_cards(ordered, rows))
    lanes = {late: _lanes([row for row in rows if row.is_timeout is late], cards) for late in (False, True)}
    width = {late: LANE * (1 + max(lanes[late].values(), default=-1)) + MARGIN * 2 for late in (False, True)}
    left, right = width[True], width[True] + CARD
    total = right + width[False]
    bottom = cards[-1].top + cards[-1].height + MARGIN
    colours = {stage: n % COLOURS for n, stage in enumerate(stages)}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total} {bottom}" width="{total}" height="{bottom}" '
        f'role="img" aria-label="{escape(title)}"><style>{STYLE}</style>',
        f'<rect class="bg" width="{total}" height="{bottom}"/>',
        f'<text class="title" x="{left}" y="44">{escape(title)}</text>',
        f'<text class="note" x="{left}" y="66">{escape(note)}</text>',
    ]
    tops = {card.stage: card for card in cards}
    leaving = _leaving(ordered, rows)
    for card in cards:
        parts.append(
            f'<rect class="card" x="{left}" y="{card.top}" width="{CARD}" height="{card.height}" rx="11"/>'
            f'<g class="k{colours[card.stage]}"><rect class="head" x="{left + 14}" y="{card.top + 14}" width="12" '
            f'height="12" rx="3"/></g>'
            f'<text class="stage" x="{left + 36}" y="{card.top + 26}">{escape(card.stage)}</text>'
        )
        if card.stage == initial:
            parts.append(
                f'<text class="note" x="{right - 14}" y="{card.top + 25}" text-anchor="end">begins here</text>'
            )
    for row in sorted(rows, key=lambda row: -lanes[row.is_timeout][row]):  # inner lanes over outer ones
        edge, away = (left, -1) if row.is_timeout else (right, 1)
        lane = edge + away * (MARGIN + LANE * lanes[row.is_timeout][row])
        y = next(y for other, y, _ in tops[row.target].rows if other is row)
        starts = {}
        for source in row.sources:
            number, count = leaving[source, row]
            starts[source] = tops[source].top + HEAD // 2 + round((number - (count - 1) / 2) * STUB)
        joined = " ".join(_paths(edge, lane, sorted(starts.values()), y))
        tip = f"M{edge + away * 2},{y} l{away * 9},-5 v10 z"
        texts = next(lines for other, _, lines in tops[row.target].rows if other is row)
        shown = "".join(
            f'<text class="rule" x="{left + 36}" y="{y + 4 + n * LINE}">{escape(line)}</text>'
            for n, line in enumerate(texts)
        )
        tooltip = f"{', '.join(row.sources)} to {row.target}: {row.label}"
        parts.append(
            f'<g class="row k{colours[row.target]}{" late" if row.is_timeout else ""}"><title>{escape(tooltip)}</title>'
            f'<path class="halo" d="{joined}"/><path class="lane" d="{joined}"/><path class="tip" d="{tip}"/>'
            f"{shown}</g>"
        )
    return "".join([*parts, "</svg>\n"])


def arrange(initial: str, stages: Sequence[str], rows: Sequence[TransitionRow]) -> list[str]:
    """Return the stages from top to bottom, the initial one first, so that lines are short and mostly lead down."""
    order = [initial, *(stage for stage in stages if stage != initial)]

    def cost(order: list[str]) -> float:
        place = {stage: n for n, stage in enumerate(order)}
        spans = [(place[row.target] - place[source], len(row.sources)) for row in rows for source in row.sources]
        return sum((span if span > 0 else -2 * span) / number for span, number in spans)

    best, better = cost(order), True
    while better:
        better = False
        for at in range(1, len(order)):
            for to in range(1, len(order)):
                other = order[:at] + order[at + 1 :]
                other.insert(to, order[at])
                if (found := cost(other)) < best - 1e-9:
                    order, best, better = other, found, True
    return order


def _cards(order: Sequence[str], rows: Sequence[TransitionRow]) -> Iterator[_Card]:
    top = 88
    for stage in order:
        y, placed = top + HEAD + LINE // 2, []
        for row in (row for row in rows if row.target == stage):
            lines = textwrap.wrap(row.label, WRAP, break_on_hyphens=False) or [""]
            placed.append((row, y, lines))
            y += len(lines) * LINE + ROW_GAP
        height = (y - top - LINE // 2 + 4) if placed else HEAD
        yield _Card(stage, top, height, placed)
        top += height + GAP


def _lanes(rows: Sequence[TransitionRow], cards: Sequence[_Card]) -> dict[TransitionRow, int]:
    """Return for each row the innermost lane that is free along the whole line. Short lines choose first."""
    heads = {card.stage: card.top + HEAD // 2 for card in cards}
    targets = {row: y for card in cards for row, y, _ in card.rows}

    def way(row: TransitionRow) -> tuple[int, int]:
        ends = [targets[row], *(heads[source] for source in row.sources)]
        return min(ends), max(ends)

    taken: list[list[tuple[int, int]]] = []
    lanes: dict[TransitionRow, int] = {}
    for row in sorted(rows, key=lambda row: (way(row)[1] - way(row)[0], way(row))):
        low, high = way(row)
        lane = next(
            (n for n, ways in enumerate(taken) if all(high + 12 < a or b + 12 < low for a, b in ways)), len(taken)
        )
        if lane == len(taken):
            taken.append([])
        taken[lane].append((low, high))
        lanes[row] = lane
    return lanes


def _leaving(order: Sequence[str], rows: Sequence[TransitionRow]) -> dict[tuple[str, TransitionRow], tuple[int, int]]:
    """Return for each stage and row the index of its line among those that leave on that side, and their number."""
    found: dict[tuple[str, TransitionRow], tuple[int, int]] = {}
    for stage in order:
        for late in (False, True):
            out = [row for row in rows if row.is_timeout is late and stage in row.sources]
            out.sort(key=lambda row: order.index(row.target))
            found |= {(stage, row): (n, len(out)) for n, row in enumerate(out)}
    return found


def _paths(edge: int, lane: int, starts: Sequence[int], end: int) -> Iterator[str]:
    """Yield paths from the edge out to the lane, along it, and back to the edge. Shared parts are drawn once."""
    side = 1 if lane > edge else -1
    for far, others in ((starts[0], starts[1:]), (starts[-1], starts[:-1])):
        way = 1 if end > far else -1
        if (far == starts[0]) is not (way > 0) and len(starts) > 1:
            continue  # all starts are on the other side
        corner = min(RADIUS, abs(end - far) / 2)
        yield (
            f"M{edge},{far} H{lane - side * corner:g} Q{lane},{far} {lane},{far + way * corner:g} "
            f"V{end - way * corner:g} Q{lane},{end} {lane - side * corner:g},{end} H{edge + 4 * side}"
        )
        for start in others:
            if (end > start) is (way > 0):
                yield f"M{edge},{start} H{lane - side * RADIUS:g} Q{lane},{start} {lane},{start + way * RADIUS:g}"
        if len(starts) == 1:
            return
