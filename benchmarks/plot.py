"""The report's plot: CPU per event of the common job, one bar per peer and mode."""

from __future__ import annotations

from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.figures import OURS, Column, Common, Contestant

COLORS = {"1s": ("#2563eb", "#93b4f5"), "default": ("#0f766e", "#8fc7c1")}
"""Of us and of the others, by mode."""


def draw(common: Common, path: Path) -> None:
    """The largest size, both modes; a logarithmic axis, for the slowest takes a hundred times the quickest."""
    largest = max(column.events for column in common.columns)
    columns = [column for column in common.columns if column.events == largest]
    names = list(dict.fromkeys(one for column in columns for one in common.contestants(column)))
    figure = Figure(figsize=(9, 0.32 * len(names) * len(columns) + 1.2), layout="constrained")
    axes = figure.subplots()
    height = 0.8 / len(columns)
    for place, column in enumerate(columns):
        _bars(axes, common, column, names, place * height, height)
    axes.set_yticks([n + height * (len(columns) - 1) / 2 for n in range(len(names))], [str(name) for name in names])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.margins(x=0.15)
    axes.set_xlabel("CPU (user + system) of the whole process, us per event: median, least and most")
    axes.set_title(f"The common job, {largest:,} events", loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", frameon=False)
    matplotlib.rcParams["svg.hashsalt"] = "lifecycle-streams"  # the same figures give the same file
    figure.savefig(path, metadata={"Date": None})


def _bars(axes: Axes, common: Common, column: Column, names: list[Contestant], offset: float, height: float) -> None:
    labelled = False
    for n, name in enumerate(names):
        spread = common.spread(column, name, "job_cpu_s", column.events / 1e6)
        if spread is None:
            continue
        color = COLORS[column.mode][0 if name == OURS else 1]
        label = None if labelled else f"durable {'every second' if column.mode == '1s' else 'as by default'}"
        labelled = True
        axes.barh(
            n + offset,
            spread.median,
            height * 0.92,
            color=color,
            label=label,
            xerr=[[spread.median - spread.least], [spread.most - spread.median]],
            ecolor="#444444",
        )
        axes.annotate(f" {spread.median:.3g}", (spread.most, n + offset), va="center", fontsize=8)
