"""With event-time ordering, a log out of order gives the outputs of the log in order."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from streams import playbooks
from streams.cli import main
from streams.replay import file_layout, log_run, scenario_file
from streams.replay import replay as runner
from streams.replay.scenario_run import run
from streams.settings import Settings
from tests.support.shop_events import DAY, half_known, in_order, shop

NOON = 1_763_719_200_000
LATENESS = 600_000
"""ms. About two hundred events lie within it here, and each customer has several of them."""
SETTINGS = {"lateness": LATENESS, "emit_after": "always"}


def history() -> list[dict[str, Any]]:
    return half_known(5, in_order(*shop(seed=5, customers=20, events=3_000, end=NOON)))


def close(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the same history compressed to hours, so that much of it is within the lateness."""
    first = events[0]["occurred_at"]
    return [{**event, "occurred_at": first + (event["occurred_at"] - first) // 30} for event in events]


def disordered(events: list[dict[str, Any]], seed: int = 1) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    delayed = [(event["occurred_at"] + rng.randrange(LATENESS), n, event) for n, event in enumerate(events)]
    return [event for _, _, event in sorted(delayed, key=lambda entry: entry[:2])]


def replay(out: Path, events: list[dict[str, Any]], **settings: Any) -> dict[str, list[str]]:
    paths = out.with_suffix(".clicks"), out.with_suffix(".orders")
    for path, is_order in zip(paths, (False, True), strict=True):
        path.write_text("".join(json.dumps(event) + "\n" for event in events if ("order_id" in event) is is_order))
    settings = {**SETTINGS, **settings}
    runner.run(
        Settings(**settings), clickstream=[paths[0]], orders=[paths[1]], out=out, until=NOON + DAY, now=NOON + DAY
    )
    return {path.name: sorted(path.read_text().splitlines()) for path in out.iterdir()}


@pytest.mark.parametrize("identity_resolution", [False, True])
def test_order_of_a_log_makes_no_difference_with_event_time_ordering(tmp_path: Path, identity_resolution: bool) -> None:
    events = close(history())
    in_time = replay(tmp_path / "sorted", events, identity_resolution=identity_resolution)
    event_time_ordering = {"identity_resolution": identity_resolution, "ordering": "event_time"}
    assert replay(tmp_path / "in-order", events, **event_time_ordering) == in_time
    assert replay(tmp_path / "disordered", disordered(events), **event_time_ordering) == in_time
    assert replay(tmp_path / "disordered-2", disordered(events, 2), **event_time_ordering) == in_time
    assert replay(tmp_path / "arrival", disordered(events), identity_resolution=identity_resolution) != in_time
    assert len(in_time["stage-changes.jsonl"]) > 50


@pytest.mark.parametrize(("chunk", "commits"), [(300, 3), (1 << 20, 1000)])
def test_chunks_and_commits_make_no_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, commits: int
) -> None:
    events = disordered(close(history()))
    expected = replay(tmp_path / "out", events, identity_resolution=True, ordering="event_time")
    monkeypatch.setattr(file_layout, "CHUNK", chunk)
    monkeypatch.setattr(log_run, "RESOLVING_COMMIT_EVERY", commits)
    assert replay(tmp_path / "other", events, identity_resolution=True, ordering="event_time") == expected


@pytest.mark.parametrize("identity_resolution", ["off", "on"])
def test_the_shipped_scenarios_pass(identity_resolution: str) -> None:
    env = {"LIFECYCLE_IDENTITY_RESOLUTION": identity_resolution, "LIFECYCLE_ORDERING": "event_time"}
    result = CliRunner().invoke(main, ["test"], env=env)
    assert result.exit_code == 0, result.output


STORY = """\
playbook: ecommerce
only: [stages]
scenarios:
  - name: the event that arrives first occurred last
    steps:
      - {type: product_added, product_id: lamp, price: 79}
      - {type: page_viewed, ago: 5s}
      - expect:
%s
"""
IN_EVENT_TIME = """\
          - {stage: visitor, cause: {event_type: page_viewed}}
          - {stage: prospect, cause: {event_type: product_added}}
"""
IN_ARRIVAL = """\
          - {stage: visitor, cause: {event_type: product_added}}
          - {stage: prospect, cause: {event_type: product_added}}
"""


def test_scenario_steps_apply_in_the_order_of_their_times(tmp_path: Path) -> None:
    path = tmp_path / "order.scenarios.yaml"
    for ordering, expected, other in (
        ("event_time", IN_EVENT_TIME, IN_ARRIVAL),
        ("arrival", IN_ARRIVAL, IN_EVENT_TIME),
    ):
        for expectation, fails in ((expected, False), (other, True)):
            path.write_text(STORY % expectation)
            (scenario,) = scenario_file.load(path).scenarios
            assert (run(scenario, playbooks.load(), Settings(ordering=ordering)) is not None) is fails
