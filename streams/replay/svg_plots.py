"""Plots as inline SVG, without a library or a script.

Colours are CSS classes `f0` … `f9` (fills) and `s0` … (strokes), so that the page chooses light or dark.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from html import escape
from typing import Final, NamedTuple

COLOURS: Final = 10
"""Number of colours. Further stages reuse them."""
_EPOCH: Final = datetime.date(1970, 1, 1)
_MONTHS: Final = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


class Buckets(NamedTuple):
    """Days grouped for a plot. The last bucket is full; the first one may begin before the first day."""

    first: int
    size: int
    number: int

    @classmethod
    def of(cls, days: range) -> Buckets:
        """Return buckets of a size that a plot can show."""
        size = next((size for size in (1, 7) if len(days) <= 130 * size), 28)
        count = -(-len(days) // size)
        return cls(days.stop - count * size, size, count)

    @property
    def unit(self) -> str:
        """Name of the size of a bucket."""
        return {1: "day", 7: "week"}.get(self.size, "4 weeks")

    def sums(self, daily: dict[int, int]) -> list[int]:
        """Return the sums of daily counts."""
        sums = [0] * self.number
        for day, count in daily.items():
            sums[(day - self.first) // self.size] += count
        return sums

    def ends(self, values: Sequence[int], days: range) -> list[int]:
        """Return the values at the end of each bucket. `values` has one for each of `days`."""
        last = (self.first + (n + 1) * self.size - 1 - days.start for n in range(self.number))
        return [values[place] for place in last]

    def label(self, n: int) -> str:
        """Return the date of the last day of bucket `n`."""
        return date(self.first + (n + 1) * self.size - 1)


def date(day: int) -> str:
    """Return a date for people, such as 3 Mar 2026. `day` counts from the epoch."""
    at = _EPOCH + datetime.timedelta(days=day)
    return f"{at.day} {_MONTHS[at.month - 1]} {at.year}"


def areas(layers: Sequence[tuple[str, int, Sequence[int]]], buckets: Buckets, top: int, label: str) -> str:
    """Plot stacked areas. Return the SVG.

    `layers`, from the bottom: name, number of the colour, and value of each bucket. The scale reaches at least `top`.
    """
    width, height, left, bottom = 560, 280, 44, 24
    inner_width, inner_height = width - left - 8, height - bottom - 10
    scale = _nice(top)

    def x(n: int) -> float:
        return left + inner_width * (n / max(buckets.number - 1, 1))

    def y(value: float) -> float:
        return 10 + inner_height * (1 - value / scale)

    parts = [_frame(width, height, label), *_grid(scale, left, width - 8, y)]
    base = [0] * buckets.number
    for name, colour, values in layers:
        tops = [below + value for below, value in zip(base, values, strict=True)]
        outline = [(x(n), y(value)) for n, value in enumerate(tops)]
        outline += [(x(n), y(value)) for n, value in reversed(list(enumerate(base)))]
        if buckets.number == 1:  # one bucket is a bar over the whole width
            outline = [(left, y(tops[0])), (width - 8, y(tops[0])), (width - 8, y(base[0])), (left, y(base[0]))]
        parts.append(
            f'<polygon class="f{colour % COLOURS}" points="{_points(outline)}"><title>{escape(name)}</title></polygon>'
        )
        base = tops
    step = inner_width / max(buckets.number, 1)
    for n in range(buckets.number):  # invisible, with a tooltip
        tooltip = "\n".join(f"{name}: {values[n]:,}" for name, _, values in reversed(layers))
        parts.append(
            f'<rect class="hit" x="{x(n) - step / 2:.1f}" y="10" width="{step:.1f}" height="{inner_height}">'
            f"<title>{buckets.label(n)}\n{escape(tooltip)}</title></rect>"
        )
    parts += _dates(buckets, x, height - 6)
    return "".join([*parts, "</svg>"])


def bars(new: Sequence[int], old: Sequence[int] | None, buckets: Buckets, label: str) -> str:
    """Plot the counts of each bucket: `new` as bars, `old` as a line. Return the SVG."""
    width, height = 320, 84
    scale = max(1, *new, *(old or ()))
    step = width / buckets.number

    def y(value: float) -> float:
        return 4 + (height - 6) * (1 - value / scale)

    parts = [_frame(width, height, label)]
    gap = min(1.5, step * 0.2)
    for n, value in enumerate(new):
        if value:
            parts.append(
                f'<rect class="new" x="{n * step + gap / 2:.2f}" y="{y(value):.2f}" width="{step - gap:.2f}" '
                f'height="{height - 2 - y(value):.2f}"/>'
            )
    if old is not None:
        line = [point for n, value in enumerate(old) for point in ((n * step, y(value)), ((n + 1) * step, y(value)))]
        parts.append(f'<polyline class="old" points="{_points(line)}"/>')
    for n in range(buckets.number):
        tooltip = f"{buckets.label(n)}: {new[n]:,}" + ("" if old is None else f" (before: {old[n]:,})")
        parts.append(
            f'<rect class="hit" x="{n * step:.2f}" y="0" width="{step:.2f}" height="{height}">'
            f"<title>{tooltip}</title></rect>"
        )
    return "".join(
        [*parts, f'<line class="axis" x1="0" x2="{width}" y1="{height - 1.5}" y2="{height - 1.5}"/>', "</svg>"]
    )


def _frame(width: int, height: int, label: str) -> str:
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">'


def _grid(scale: int, left: int, right: int, y: object) -> list[str]:
    assert callable(y)
    parts = []
    for quarter in range(5):
        value = scale * quarter / 4
        at = y(value)
        parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text class="tick" x="{left - 6}" y="{at + 4:.1f}" text-anchor="end">{_short(value)}</text>')
    return parts


def _dates(buckets: Buckets, x: object, y: int) -> list[str]:
    """Return the labels of up to four dates below a plot."""
    assert callable(x)
    count = buckets.number
    places = sorted({round(n * (count - 1) / 3) for n in range(4)}) if count > 1 else [0]
    parts = []
    for n in places:
        anchor = "start" if n == places[0] else "end" if n == places[-1] else "middle"
        parts.append(f'<text class="tick" x="{x(n):.1f}" y="{y}" text-anchor="{anchor}">{buckets.label(n)}</text>')
    return parts


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _nice(top: int) -> int:
    """Return the least round number that is at least `top` and divisible by 4."""
    size = 1
    while True:
        for step in (4, 8, 12, 16, 20, 24, 28, 32):
            if step * size >= top:
                return step * size
        size *= 10


def _short(value: float) -> str:
    if value >= 1_000_000:
        return f"{value / 1_000_000:g}M"
    return f"{value / 1_000:g}k" if value >= 10_000 else f"{value:,g}"
