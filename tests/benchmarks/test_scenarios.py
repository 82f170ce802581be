"""The events of the scenarios, and the statistics over measurements. The scenarios themselves are run by hand."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.job import START_MS
from benchmarks.scenarios import lab, shop
from streams.core.model.policy import MINUTE
from tests.support.replay_comparison import replay_outputs


def test_newcomers_come_once_each_and_within_the_browse_window() -> None:
    events = list(shop.newcomers(1_000_000 // 100, until=START_MS))
    assert len({event.customer for event in events}) == len(events) == 10_000
    assert [event.at for event in events] == sorted(event.at for event in events)
    assert events[-1].at == START_MS
    million = shop.newcomers(1_000_000, until=START_MS)
    assert START_MS - next(million).at < 30 * MINUTE


def test_a_mix_is_as_long_as_asked_in_order_of_time_and_the_same_each_time() -> None:
    events = shop.mix(5_000, customers=500)
    assert len(events) == 5_000
    assert [event.at for event in events] == sorted(event.at for event in events)
    assert events == shop.mix(5_000, customers=500)
    assert events != shop.mix(5_000, customers=500, seed=2)
    kinds = Counter(json.loads(event.value)["type"] for event in events)
    assert kinds.keys() == {*shop.PAGES, "checkout_started", "order_completed"}
    assert {json.loads(event.value)["type"] for event in events if event.order} == {"order_completed"}
    assert kinds["order_completed"] < kinds["checkout_started"] < kinds["product_added"]


def test_mix_has_every_kind_of_event_that_the_playbook_reads(tmp_path: Path) -> None:
    events = shop.mix(5_000, customers=500)
    clicks, orders = ([json.loads(e.value) for e in events if e.order is order] for order in (False, True))
    outputs = replay_outputs(tmp_path / "replay", clicks, orders)
    types = Counter(output.get("type", "stage_changed") for output in outputs)
    assert {"abandoned", "recovered", "stage_changed"} <= types.keys(), types
    assert {"visitor", "prospect", "customer"} <= {output.get("to_stage") for output in outputs}


@pytest.mark.parametrize(("percent", "value"), [(0, 1.0), (50, 51.0), (99, 100.0), (100, 100.0)])
def test_a_percentile_is_a_value_that_was_measured(percent: float, value: float) -> None:
    assert lab.percentile([float(n) for n in range(100, 0, -1)], percent) == value


def test_a_row_has_the_median_and_all_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab, "RESULTS", tmp_path / "results" / "scenarios.jsonl")
    lab.report("idle", "CPU", [3.0, 1.0, 2.00049], "%", "< 2", outputs=7)
    lab.report("idle", "CPU", [1.0], "%")
    first, second = map(json.loads, lab.RESULTS.read_text().splitlines())
    assert first == {
        "scenario": "idle", "metric": "CPU", "value": 2.0, "unit": "%", "goal": "< 2", "runs": [3.0, 1.0, 2.0],
        "outputs": 7,
    }  # fmt: skip
    assert second["runs"] == [1.0]
