"""Writes REPORT.md and its plot from files of results. All statements are computed from them, also those on goals.

python -m benchmarks.report                 # the newest run of the common job, and the scenarios
python -m benchmarks.report common-….jsonl common-….jsonl    # of several runs on one machine, one page
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from benchmarks.figures import (
    GOALS,
    OURS,
    SCENARIOS,
    Column,
    Common,
    Contestant,
    Scenario,
    Spread,
    by_customers,
    read,
    scenarios,
)

HERE: Final = Path(__file__).parent
RESULTS: Final = HERE / "results"
REPORT: Final = HERE / "REPORT.md"

INTRODUCTION: Final = """\
# What it costs

This page is made by `make bench` from what was measured; nothing on it is written by hand. What is measured, how, and
what was decided for fairness' sake is in [README.md](README.md).
"""

LEGEND: Final = """\
How to read the tables below, in short:

- **CPU of the job**: user and system time of the whole process, from when it is up to when every event is committed;
  **with its start** adds what interpreter, imports and construction took. **Ours to it** is our CPU per event by this
  peer's, round by round.
- **Cold** is the first time that a JVM does the job, **warm** a later one in the same JVM, once its JIT has seen
  {warming_events:,} events: the median of {warming_rounds} times, and so once per round.
- **Events/s** are from when it is up to its last output.
- **Recovery** is how much longer a restart takes with the state of the job than with that of four customers, and how
  much more CPU; `-` where nothing is kept or it was not measured. About 0: not distinguishable from noise.
- **Outputs** were read back from the topic and compared with an oracle's, every one, also after the recovery.
"""


def render(common: Common, own: list[Scenario], picture: str, sizes: str = "") -> str:
    """Return the page. `picture` is the file of its plot, beside it; `sizes` that of the cost over customers."""
    parts = [INTRODUCTION, *_goals(common, own), f"![CPU per event]({picture})\n"]
    warming = common.machine["warming"]
    parts.append(LEGEND.format(warming_events=warming["events"], warming_rounds=warming["rounds"]))
    for column in common.columns:
        parts += _common(common, column)
    parts += _scenarios(own)
    if sizes:
        parts.append(f"![CPU per event over customers]({sizes})\n")
    parts += [*_peers(common), *_machine(common)]
    return "\n".join(parts)


# -- goals


def _goals(common: Common, own: list[Scenario]) -> Iterator[str]:
    rounds = sorted({common.rounds(column) for column in common.columns})
    yield "## Goals\n"
    yield (
        f"CPU per event of the common job as a ratio, ours to the other's, round by round: median (least to most) of "
        f"{' to '.join(map(str, rounds[:1] + rounds[1:][-1:]))} interleaved round{'s' if rounds[-1] > 1 else ''}.\n"
    )
    yield _table(
        ["goal", *(_title(column) for column in common.columns)],
        (
            [goal.says, *(_goal(common, column, goal.other, goal.at_most) for column in common.columns)]
            for goal in GOALS
        ),
    )
    yield "Of our own worker, medians of so many runs:\n"
    with_goal = [scenario for scenario in own if scenario.met is not None]
    lacking = [name for name in SCENARIOS if name not in {one.scenario for one in with_goal}]
    yield _table(
        ["scenario", "figure", "goal", "measured", "runs", "outcome"],
        [
            *(
                [one.scenario, one.metric, f"{one.goal} {one.unit}", *_measured(one), _met(one.met)]
                for one in with_goal
            ),
            *([name, "", "", "", "0", "not measured"] for name in lacking),
        ],
    )


def _goal(common: Common, column: Column, other: Contestant, at_most: float) -> str:
    ratio = common.ratio(column, other)
    if ratio is None:
        return "not measured"
    if not common.sound(column, OURS):
        return f"{_spread(ratio)}: {_met(False)}, not all of ours went well"
    return f"{_spread(ratio, digits=3 if at_most < 0.1 else 2)}: {_met(ratio.median <= at_most)}"


def _met(met: bool | None) -> str:
    return "**met**" if met else "**not met**"


# -- the common job


def _common(common: Common, column: Column) -> Iterator[str]:
    yield f"## The common job, {_title(column)}\n"
    mode = "as often durable as each is by default" if column.mode == "default" else "durable every second"
    yield f"{column.events:,} events of {column.customers:,} customers, {mode}. Median (least to most).\n"
    yield _table(
        [
            "peer",
            "CPU of the job, us/event",
            "ours to it",
            "with its start, us/event",
            "events/s, thousands",
            "peak RSS, MB",
            "recovery, s",
            "of CPU, s",
            "outputs",
        ],
        (_contestant(common, column, one) for one in common.contestants(column)),
    )


def _contestant(common: Common, column: Column, one: Contestant) -> list[str]:
    trials = common.trials(column, one)
    per_event = column.events / 1e6
    with_start = Spread.of(
        (row["start_cpu_s"] + row["job_cpu_s"]) / per_event for row in trials if "start_cpu_s" in row
    )
    return [
        f"**{one}**" if one == OURS else str(one),
        _spread(common.spread(column, one, "job_cpu_s", per_event)),
        "" if one == OURS else _spread(common.ratio(column, one), digits=2),
        _spread(with_start),
        _spread(Spread.of(column.events / row["outputs_s"] / 1000 for row in trials)),
        _spread(common.spread(column, one, "peak_rss_mb"), digits=0),
        _spread(common.spread(column, one, "recovery_s")),
        _spread(common.spread(column, one, "recovery_cpu_s")),
        _outputs(common, column, one),
    ]


def _outputs(common: Common, column: Column, one: Contestant) -> str:
    trials, errors = common.trials(column, one), common.errors(column, one)
    wrong = [row["differs"] for row in trials if row["differs"]]
    lost = [row["recovered_differs"] for row in trials if row.get("recovered_differs")]
    said = []
    if wrong:
        said.append(f"**differ** in {len(wrong)} of {len(trials)}: {wrong[0]}")
    if lost:
        said.append(f"**differ after recovery** in {len(lost)} of {len(trials)}: {lost[0]}")
    stuck = [row["recovery_error"] for row in trials if "recovery_error" in row]
    if stuck:
        said.append(f"equal, but **not restarted** in {len(stuck)} of {len(trials)}: {stuck[0]}")
    if errors:
        said.append(f"**failed** in {len(errors)} of {len(trials) + len(errors)}: {errors[0]}")
    return "; ".join(said) or "equal"


# -- the rest


def _scenarios(own: list[Scenario]) -> Iterator[str]:
    if others := [scenario for scenario in own if scenario.met is None]:
        yield "## Our worker, further figures\n"
        yield _table(
            ["scenario", "figure", "measured", "runs"],
            ([one.scenario, one.metric, *_measured(one)] for one in others),
        )


def _measured(one: Scenario) -> tuple[str, str]:
    """The figure, and of how many runs it is."""
    return f"{_spread(Spread.of(one.runs))} {one.unit}", str(len(one.runs))


def _peers(common: Common) -> Iterator[str]:
    yield "## Peers\n"
    yield _table(
        ["peer", "versions", "commits by default every", "settings"],
        ([row["peer"], row["versions"], row["default_interval"], row["settings"]] for row in common.peers),
    )


def _machine(common: Common) -> Iterator[str]:
    yield "## Machine\n"
    labels = {
        "processor": "processor",
        "cores": "cores",
        "memory_gb": "memory, GB",
        "system": "system",
        "python": "Python",
        "broker": "broker",
        "began": "began",
    }
    about = {**common.machine, "began": ", ".join(common.began)}
    yield _table(["", ""], ([label, str(about[key])] for key, label in labels.items()))


def _title(column: Column) -> str:
    return f"{column.events:,} events, {column.mode}"


def _spread(spread: Spread | None, digits: int | None = None) -> str:
    if spread is None:
        return "-"
    median, least, most = (_number(value, digits) for value in spread)
    return median if least == most else f"{median} ({least} to {most})"


def _number(value: float, digits: int | None = None) -> str:
    """Return the value with `digits` decimals, by default as many as values of its size need."""
    if digits is None:
        digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}"


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines) + "\n"


def newest() -> list[Path]:
    """Return the results of the last run of the common job."""
    runs = sorted(RESULTS.glob("common-*.jsonl"))
    if not runs:
        raise SystemExit("there are no results: run make bench first")
    return runs[-1:]


def write(paths: Iterable[Path], report: Path = REPORT) -> None:
    """Write the report. Called at the end of a run, and by the command line. Raise `ValueError` if the runs cannot be
    combined."""
    from benchmarks import plot  # matplotlib is installed with the peers; the page can be made without it

    common, own = Common(row for path in paths for row in read(path)), scenarios(read(RESULTS / "scenarios.jsonl"))
    picture = report.with_name(f"{report.stem.lower()}.svg")
    plot.draw(common, picture)
    sizes = by_customers(own)
    of_sizes = report.with_name(f"{report.stem.lower()}-customers.svg")
    if sizes:
        plot.draw_sizes(sizes, of_sizes)
    report.write_text(render(common, own, picture.name, of_sizes.name if sizes else ""))


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="*", type=Path, help="files of results; the newest by default")
    write(parser.parse_args().results or newest())


if __name__ == "__main__":
    main()
