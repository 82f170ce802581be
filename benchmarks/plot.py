"""The report's plots: CPU per event of the common job, a point per peer and mode; and over the number of customers."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.figures import OURS, AtSize, Column, Common, Contestant, Spread


class Style(NamedTuple):
    """Style of the marks of one mode."""

    label: str
    color: str
    offset: float


STYLES: Final = {
    "default": Style("durable as each is by default", "#0f766e", -0.17),
    "1s": Style("durable every second", "#2563eb", 0.17),
}


def draw(common: Common, path: Path) -> None:
    """Draw the largest size in both modes, on a logarithmic axis: the slowest takes a hundred times the quickest."""
    largest = max(column.events for column in common.columns)
    columns = [column for column in common.columns if column.events == largest]
    names = list(dict.fromkeys(one for column in columns for one in common.contestants(column)))
    figure = Figure(figsize=(8, 0.42 * len(names) + 1.4), layout="constrained")
    axes = figure.subplots()
    for column in columns:
        _points(axes, common, column, names)
    axes.set_yticks(range(len(names)), [str(name) for name in names])
    for label in axes.get_yticklabels():
        label.set_fontweight("bold" if label.get_text() == str(OURS) else "normal")
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.margins(x=0.12)
    axes.grid(axis="x", which="both", color="#e5e7eb")
    axes.set_axisbelow(True)
    axes.set_xlabel("us of CPU (user + system, whole process) per event: median, least and most; logarithmic")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_title(f"The common job, {largest:,} events", loc="left", pad=24)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(columns), frameon=False)
    _save(figure, path)


def draw_sizes(sizes: list[AtSize], path: Path) -> None:
    """Draw CPU per event, on an axis from 0, over the number of customers, on a logarithmic axis."""
    figure = Figure(figsize=(8, 3), layout="constrained")
    axes = figure.subplots()
    axes.plot([size.customers for size in sizes], [size.us for size in sizes], "o-", color=STYLES["1s"].color)
    for size in sizes:
        axes.annotate(
            f"{size.us:.3g}", (size.customers, size.us), xytext=(0, 7), textcoords="offset points", fontsize=8
        )
    axes.set_xscale("log")
    axes.set_ylim(0, 1.25 * max(size.us for size in sizes))
    axes.margins(x=0.12)
    axes.grid(color="#e5e7eb")
    axes.set_axisbelow(True)
    axes.set_xlabel("customers that the worker knows; logarithmic")
    axes.set_ylabel("us of CPU per event")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title("CPU per event of a mix, over the number of customers", loc="left")
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    matplotlib.rcParams["svg.hashsalt"] = "lifecycle-streams"  # the same figures give the same file
    figure.savefig(path, metadata={"Date": None})


def _points(axes: Axes, common: Common, column: Column, names: list[Contestant]) -> None:
    style = STYLES[column.mode]
    found = [(n, spread) for n, name in enumerate(names) if (spread := _per_event(common, column, name))]
    axes.errorbar(
        [spread.median for _, spread in found],
        [n + style.offset for n, _ in found],
        xerr=[
            [spread.median - spread.least for _, spread in found],
            [spread.most - spread.median for _, spread in found],
        ],
        fmt="o",
        color=style.color,
        capsize=3,
        label=style.label,
    )
    for n, spread in found:
        axes.annotate(
            f"{spread.median:.3g}",
            (spread.most, n + style.offset),
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=style.color,
        )


def _per_event(common: Common, column: Column, name: Contestant) -> Spread | None:
    return common.spread(column, name, "job_cpu_s", column.events / 1e6)
