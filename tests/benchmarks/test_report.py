"""The report shows the figures, and no more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import benchmarks.scenarios as scenarios_of_ours
from benchmarks.figures import OURS, SCENARIOS, Column, Common, Contestant, Scenario, by_customers, read, scenarios
from benchmarks.report import render

EVENTS = 200_000
COLUMN = Column(EVENTS, 20_000, "1s")
WARMING = {"events": 1_000_000, "rounds": 3}
LOOP = "confluent-kafka loop"


def trial(peer: str, us: float, number: int = 1, jit: str | None = None, **more: Any) -> dict[str, Any]:
    """Return a row as a run writes it; `us` is the CPU time per event."""
    return {
        "kind": "trial",
        "peer": peer,
        "jit": jit,
        "mode": COLUMN.mode,
        "round": number,
        "events": EVENTS,
        "customers": COLUMN.customers,
        "start_cpu_s": 0.2,
        "job_cpu_s": us * EVENTS / 1e6,
        "outputs_s": 2.0,
        "peak_rss_mb": 64.4,
        "differs": None,
        **more,
    }


def common(*trials: dict[str, Any]) -> Common:
    return Common(run(*trials))


def run(
    *trials: dict[str, Any], began: str = "20261122T000000Z", processor: str = "a processor"
) -> list[dict[str, Any]]:
    machine = {"kind": "machine", "began": began, "processor": processor, "cores": 2, "warming": WARMING}
    machine |= {"memory_gb": 8.0, "system": "Linux", "python": "3.11", "broker": "a broker"}
    about = {"versions": "1.0", "default_interval": "1 s", "settings": "none", "store": "changelog"}
    names = dict.fromkeys(row["peer"] for row in trials)
    return [machine, *({"kind": "peer", "peer": name, **about} for name in names), *trials]


def page(*trials: dict[str, Any], own: list[Scenario] | None = None) -> str:
    return render(common(*trials), own or [], "plot.svg")


def line(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(f"| {start}"))


@pytest.mark.parametrize(
    ("peer", "jit", "limit", "goal"),
    [
        (LOOP, None, 1.0, "no more than the confluent"),
        ("Kafka Streams", "warm", 0.55, "at most 0.55"),
        ("Flink, heap", "warm", 0.9, "at most 0.9"),
        ("Quix Streams", None, 0.2, "at least 5 times"),
        ("Faust", None, 0.02, "at least 50 times"),
    ],
)
def test_a_goal_is_met_up_to_its_limit_and_not_beyond(peer: str, jit: str | None, limit: float, goal: str) -> None:
    theirs = trial(peer, 100.0, jit=jit)
    assert line(page(trial(OURS.peer, 99.9 * limit), theirs), goal).endswith("**met** |")
    assert line(page(trial(OURS.peer, 100.1 * limit), theirs), goal).endswith("**not met** |")


def test_cold_jvm_does_not_count_for_the_goal() -> None:
    text = page(trial(OURS.peer, 1.0), trial("Kafka Streams", 100.0, jit="cold"))
    assert line(text, "at most 0.55").endswith("not measured |")


def test_goal_is_not_met_with_wrong_outputs() -> None:
    text = page(trial(OURS.peer, 1.0, differs="3 customers differ"), trial(LOOP, 100.0))
    assert "**not met**, not all of ours went well" in line(text, "no more than the confluent")
    assert "**differ** in 1 of 1: 3 customers differ" in line(text, "**lifecycle-streams**")


def test_ratios_are_of_the_same_round_and_medians_have_their_spread() -> None:
    rows = [trial(OURS.peer, us, n) for n, us in enumerate((4.0, 8.0, 6.0))]
    rows += [trial(LOOP, us, n) for n, us in enumerate((4.0, 4.0, 12.0))]
    ratio = common(*rows).ratio(COLUMN, Contestant(LOOP, None))
    assert ratio == (1.0, 0.5, 2.0)
    text = page(*rows)
    assert "| 4.00 (4.00 to 12.0) | 1.00 (0.50 to 2.00) |" in line(text, LOOP)
    assert "| **lifecycle-streams** | 6.00 (4.00 to 8.00) |" in text
    assert "of 3 interleaved rounds" in text


def test_failed_trial_is_reported_and_does_not_count() -> None:
    failed = {key: trial(LOOP, 0.0)[key] for key in ("kind", "peer", "jit", "mode", "events", "customers")}
    text = page(trial(OURS.peer, 4.0), trial(LOOP, 5.0), {**failed, "round": 2, "error": "it ended with code 1"})
    assert "| 5.00 |" in line(text, LOOP)
    assert "**failed** in 1 of 2: it ended with code 1" in line(text, LOOP)


def test_peer_that_always_failed_has_a_row() -> None:
    failed = {key: trial(LOOP, 0.0)[key] for key in ("kind", "peer", "jit", "mode", "round", "events", "customers")}
    text = page(trial(OURS.peer, 4.0), {**failed, "error": "no java"})
    assert "**failed** in 1 of 1: no java" in line(text, LOOP)
    assert line(text, "no more than the confluent").endswith("not measured |")


def test_state_that_was_not_recovered_is_reported() -> None:
    text = page(trial(OURS.peer, 4.0, recovery_s=0.5, recovery_cpu_s=0.1, recovered_differs="1 customers differ"))
    assert "**differ after recovery** in 1 of 1" in line(text, "**lifecycle-streams**")
    assert "| 0.50 | 0.10 |" in line(text, "**lifecycle-streams**")


def test_failed_restart_is_reported_and_keeps_the_figures_of_the_job() -> None:
    text = page(trial(OURS.peer, 4.0), trial("Faust", 400.0, recovery_error="TimeoutError: not done"))
    assert line(text, "at least 50 times").endswith("0.010: **met** |")
    assert "| 400 | 0.01 |" in line(text, "Faust")
    assert "**not restarted** in 1 of 1: TimeoutError: not done" in line(text, "Faust")


def test_every_row_of_a_table_has_its_columns() -> None:
    own = [
        Scenario("idle", "CPU | at rest", 1.5, "% of a core", "< 2", (1.5,)),
        Scenario("scale", "slope", 1.0, "", "", (1.0,)),
    ]
    lines = page(trial(OURS.peer, 4.0), trial("Kafka Streams", 9.0, jit="cold", differs="a | b"), own=own).splitlines()
    previous = None
    for row in lines:
        columns = row.count("|") if row.startswith("|") else None
        assert previous is None or columns is None or columns == previous, row
        previous = columns


# -- scenarios


@pytest.mark.parametrize(
    ("goal", "value", "met"),
    [
        ("<= 8", 8.0, True),
        ("<= 8", 8.1, False),
        ("< 2", 2.0, False),
        ("< 2", 1.9, True),
        (">= 20", 20.0, True),
        (">= 20", 19.9, False),
        ("> 1.8", 1.8, False),
        ("", 1.0, None),
    ],
)
def test_goal_of_a_scenario_is_met_by_its_value(goal: str, value: float, met: bool | None) -> None:
    assert Scenario("idle", "CPU", value, "%", goal, (value,)).met is met


def test_the_latest_figure_of_a_scenario_is_the_one_that_counts(tmp_path: Path) -> None:
    row = {"scenario": "idle", "metric": "CPU at 0 events/s", "unit": "% of a core", "goal": "< 2", "runs": [1.0]}
    path = tmp_path / "scenarios.jsonl"
    rows = [{**row, "value": value, "runs": [value, value - 0.5, value + 1.5]} for value in (1.0, 3.0)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    own = scenarios(read(path))
    assert [one.value for one in own] == [3.0]
    text = page(trial(OURS.peer, 4.0), own=own)
    assert line(text, "idle") == (
        "| idle | CPU at 0 events/s | < 2 % of a core | 3.00 (2.50 to 4.50) % of a core | 3 | **not met** |"
    )


def test_scenario_with_goals_that_was_not_run_is_reported() -> None:
    own = [Scenario("idle", "CPU", 1.0, "%", "< 2", (1.0,)), Scenario("mix", "CPU per event", 1.0, "us", "", (1.0,))]
    text = page(trial(OURS.peer, 4.0), own=own)
    assert {name for name in SCENARIOS if f"| {name} |  |  |  | 0 | not measured |" in text} == {*SCENARIOS} - {"idle"}
    assert {*SCENARIOS} <= {path.stem for path in Path(scenarios_of_ours.__file__).parent.glob("*.py")}


def test_missing_file_has_no_figures(tmp_path: Path) -> None:
    assert read(tmp_path / "none.jsonl") == []


def size(customers: int, events: int, us: float) -> Scenario:
    return Scenario("scale", f"CPU per event, {customers} customers, {events} events", us, "us", "", (us,))


def test_the_cost_over_customers_is_of_one_number_of_events() -> None:
    own = [size(10_000, 400, 4.0), size(1_000_000, 200, 7.0), size(10_000, 200, 5.0), size(100_000, 200, 6.0)]
    own.append(Scenario("scale", "CPU per event, two workers, 10000 customers, 200 events", 9.0, "us", "", (9.0,)))
    assert by_customers(own) == [(10_000, 5.0), (100_000, 6.0), (1_000_000, 7.0)]
    assert by_customers(own[:1]) == []


def test_the_picture_of_the_cost_over_customers_is_shown_where_there_is_one() -> None:
    shown = render(common(trial(OURS.peer, 4.0)), [], "plot.svg", "customers.svg")
    assert "(customers.svg)" in shown
    assert shown.replace("![CPU per event over customers](customers.svg)\n\n", "") == page(trial(OURS.peer, 4.0))


def test_runs_of_one_machine_share_a_page_and_rounds_are_compared_within_a_run() -> None:
    one = run(trial(OURS.peer, 5), trial(LOOP, 10))
    other = run(trial(OURS.peer, 20), trial(LOOP, 5), began="20261123T000000Z")
    together = Common([*one, *other])
    ratio = together.ratio(COLUMN, Contestant(LOOP, None))
    assert ratio is not None
    assert ratio.median == pytest.approx(2.25)
    assert (ratio.least, ratio.most) == (0.5, 4.0)
    assert together.rounds(COLUMN) == 2
    text = render(together, [], "plot.svg")
    assert "2 interleaved rounds" in text
    assert "20261122T000000Z, 20261123T000000Z" in text
    assert text.count("| none |") == 2  # each peer once
    with pytest.raises(ValueError, match="another machine"):
        Common([*one, *run(processor="another")])
    with pytest.raises(ValueError, match="not the same in all runs"):
        Common([*one, {**one[1], "versions": "2.0"}])
