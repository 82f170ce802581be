"""`lifecycle backtest`: counts, differing customers, and the contents of its report."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from streams import playbooks
from streams.cli import main
from streams.core.lifecycle.playbook import Playbook
from streams.core.model.event import Source
from streams.core.model.policy import DAY, MINUTE, Policy
from streams.devtools.ports import reserve_port
from streams.errors import UserError
from streams.replay import backtest, comparison, replay
from streams.replay.backtest import Backtest, decoders, ignore_rejected
from streams.replay.backtest_page import page
from streams.replay.comparison import Comparison, Reason
from streams.replay.input_files import Lines
from streams.replay.log_run import FileReader
from streams.replay.output_collector import GONE, Collector, Customer, DatedSeries, Series
from streams.replay.svg_plots import Buckets, date
from streams.settings import Settings
from streams.values import parse_time
from tests.replay.backtest_helpers import NOW, OLD, QUICKER, TEXT, UNTIL, changed, event, find, write
from tests.support.replay_data import CLICKS, ORDERS


def command(*args: str | Path, **environ: str) -> Result:
    return CliRunner().invoke(main, ["backtest", *map(str, args)], env=environ)


# ------------------------------------------------------------------------------------------------------ counts


def test_backtest_counts_the_outputs_of_a_replay(tmp_path: Path) -> None:
    found = find(OLD).new
    replay.run(Settings(), clickstream=[CLICKS], orders=[ORDERS], out=tmp_path, until=UNTIL, now=NOW)
    expected: dict[Series, Counter[int]] = {}
    flows: Counter[tuple[str, str | None, str]] = Counter()
    for name in ("stage-changes.jsonl", "abandonments.jsonl"):
        for line in (tmp_path / name).read_text().splitlines():
            output = json.loads(line)
            day = parse_time(output["occurred_at"]) // DAY
            if output["type"] == "stage_changed":
                series = Series(output["track"], output["to_stage"] or GONE)
                flows[output["track"], output["from_stage"], output["to_stage"] or GONE] += 1
            else:
                step = f"step {output['step']}" if output["type"] == "abandoned" and output["steps"] > 1 else ""
                series = Series("abandonments", f"{output['kind']} {output['type']}", step)
            expected.setdefault(series, Counter())[day] += 1
    assert found.daily == expected
    assert found.flows == flows


def test_customers_by_stage_end_as_the_engine_counts_them() -> None:
    settings = Settings()
    with Lines([CLICKS]) as clickstream, Lines([ORDERS]) as sales:
        inputs = {Source.CLICKSTREAM: clickstream, Source.ORDERS: sales}
        reader = FileReader(inputs, decoders(settings, OLD, None), ignore_rejected, until=UNTIL, now=NOW)
        test = Backtest(settings, reader, OLD, None, until=UNTIL)
        while test.step():
            pass
        found = test.finish()
        [engine] = test._log_run.engines
        population = {stage: count for stage, count in engine.state.population.items() if count}
    ends = {stage: counts[-1] for stage, counts in found.new.population("lifecycle", found.days)}
    assert {stage: count for stage, count in ends.items() if count} == population
    assert population


def test_population_is_counted_day_by_day(tmp_path: Path) -> None:
    clicks = write(
        tmp_path / "c.jsonl",
        event(1, "2026-01-01T10:00:00Z", "page_viewed"),
        event(2, "2026-01-03T10:00:00Z", "signed_up"),
        event(3, "2026-01-04T10:00:00Z", "page_viewed", "c-2"),
    )
    found = find(OLD, None, clicks, (), None)
    assert dict(found.new.population("lifecycle", found.days)) == {"visitor": [1, 1, 0, 1], "prospect": [0, 0, 1, 1]}
    assert date(found.days.start) == "1 Jan 2026"


# ------------------------------------------------------------------------------------------------------- differences


def test_same_playbook_shows_no_differences() -> None:
    found = find(changed(), OLD)
    assert found.differences is not None
    assert (found.differences.customers, found.differences.by_reason) == (0, {})
    assert "Nobody would notice" in page(found)


def test_differences_name_customers_reasons_and_shifts(tmp_path: Path) -> None:
    clicks = write(
        tmp_path / "c.jsonl",
        event(1, "2026-01-01T10:00:00Z", product_id="p"),
        event(2, "2026-01-01T10:00:00Z", customer="c-2", product_id="p"),
        event(3, "2026-01-01T10:50:00Z", "page_viewed", customer="c-2"),
        event(4, "2026-01-01T10:00:00Z", "page_viewed", customer="c-3"),
    )
    found = find(QUICKER, OLD, clicks, (), parse_time("2026-01-01T23:00:00Z"))
    assert found.differences is not None
    assert found.differences.customers == 2
    step = Series("abandonments", "cart abandoned", "step 1")
    [(reason, group)] = found.differences.by_reason.items()
    assert reason == Reason("earlier", step)
    assert (group.count, sorted(group.examples)) == (2, [Customer("c-1", True), Customer("c-2", True)])
    assert sorted(group.shifts) == [20 * MINUTE, 70 * MINUTE]  # 10:40 and 11:00; 10:40 and 11:50
    shown = page(found)
    assert "2 of 3 customers (66.7%) would fare differently" in shown
    assert "cart abandoned step 1 comes earlier" in shown
    assert "silent for 40m" in shown
    assert "silent for 1h" in shown


@pytest.mark.parametrize(
    ("new", "old", "how"),
    [
        (changed(("cart: {after: 60m, steps: [24h, 72h]}", "cart: {after: 60m, steps: [24h]}")), OLD, "gone"),
        (OLD, changed(("cart: {after: 60m, steps: [24h, 72h]}", "cart: {after: 60m, steps: [24h]}")), "new"),
        (changed(("cart: {after: 60m", "cart: {after: 70m")), OLD, "later"),
    ],
)
def test_each_difference_has_its_reason(tmp_path: Path, new: Playbook, old: Playbook, how: str) -> None:
    clicks = write(tmp_path / "c.jsonl", event(1, "2026-01-01T10:00:00Z", product_id="p"))
    found = find(new, old, clicks, (), parse_time("2026-01-10T00:00:00Z"))
    assert found.differences is not None
    assert [reason.how for reason in found.differences.by_reason] == [how]


dated_series = st.builds(DatedSeries, st.integers(0, 3), st.builds(Series, st.just("t"), st.sampled_from(("a", "b"))))
outputs = st.tuples(st.sampled_from([Customer(name, known) for name in "xy" for known in (True, False)]), dated_series)


@given(st.lists(st.tuples(st.lists(outputs, max_size=4), st.lists(outputs, max_size=4)), max_size=6))
def test_customers_differ_exactly_if_their_outputs_do(
    steps: list[tuple[list[tuple[Customer, DatedSeries]], ...]],
) -> None:
    new, old = Collector(), Collector()
    comparison = Comparison(new, old)
    emitted: list[Counter[tuple[Customer, DatedSeries]]] = [Counter(), Counter()]
    for step in steps:
        for side, collector, made in zip(emitted, (new, old), step, strict=True):
            side.update(made)
            collector.new += made
        comparison.update()
    found = comparison.finish()
    differ = {customer for side, other in (emitted, emitted[::-1]) for customer, _ in (side - other)}
    assert found.customers == len(differ)
    assert sum(group.count for group in found.by_reason.values()) + found.not_kept == len(differ)
    assert {customer for group in found.by_reason.values() for customer in group.examples} <= differ
    for customer in differ:  # the first difference of a customer is reported
        first = min(
            dated
            for side, other in (emitted, emitted[::-1])
            for differing, dated in (side - other)
            if differing == customer
        )
        assert any(reason.series == first.series for reason in found.by_reason)


def test_bounds_on_kept_differences_change_no_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clicks = write(
        tmp_path / "c.jsonl",
        *(event(n, "2026-01-01T10:00:00Z", customer=f"c-{n}", product_id="p") for n in range(20)),
    )
    monkeypatch.setattr(comparison, "DETAILED_CUSTOMERS", 3)
    monkeypatch.setattr(comparison, "DETAILED_OUTPUTS", 2)
    found = find(QUICKER, OLD, clicks, (), parse_time("2026-01-10T00:00:00Z"))
    assert found.differences is not None
    assert (found.differences.customers, found.differences.not_kept) == (20, 17)
    assert [(reason.how, group.count) for reason, group in found.differences.by_reason.items()] == [("earlier", 3)]
    assert "and 17 customers for other reasons" in page(found)


# --------------------------------------------------------------------------------------------------------- the report


def test_report_escapes_texts_and_shows_no_personal_data(tmp_path: Path) -> None:
    hostile = '<script>alert(1)</script>&"\x00'
    private: dict[str, Any] = {"url": "https://example.com/secret", "properties": {"email": "someone@example.com"}}
    clicks = write(
        tmp_path / "c.jsonl",
        event(1, "2026-01-01T10:00:00Z", customer=hostile, product_id="product-7", category="books", **private),
        event(2, "2026-01-01T10:01:00Z", "<i>evil", customer=hostile, session_id="session-9", cart_id="cart-3"),
    )
    shown = page(find(QUICKER, OLD, clicks, (), parse_time("2026-01-10T00:00:00Z")))
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&amp;&quot;" in shown
    assert "<script" not in shown
    assert "<i>evil" not in shown
    for word in ("secret", "someone@", "product-7", "books", "session-9", "cart-3"):
        assert word not in shown
    assert not re.search(r"(src|href)=|url\(|@import", shown)  # the page loads nothing


def test_the_same_history_gives_the_same_report() -> None:
    assert page(find(QUICKER, OLD)) == page(find(QUICKER, OLD))


def test_report_of_a_single_playbook_is_written() -> None:
    shown = page(find(OLD))
    assert "<h1>ecommerce v1, tried on history</h1>" in shown
    assert "fares differently" not in shown


def test_report_of_an_empty_history_is_written(tmp_path: Path) -> None:
    empty = write(tmp_path / "c.jsonl")
    found = find(QUICKER, OLD, empty, (), None)
    assert "Nobody would notice" in page(found)
    assert "holds no records" in backtest.summary(found, (), tmp_path, 1.0)


@given(st.integers(-1000, 40_000), st.integers(1, 4000))
def test_buckets_hold_every_day_once(first: int, count: int) -> None:
    days = range(first, first + count)
    buckets = Buckets.of(days)
    assert buckets.number <= 145
    sums = buckets.sums(dict.fromkeys(days, 1))
    assert sum(sums) == count
    assert all(number == buckets.size for number in sums[1:])
    assert buckets.ends(list(days), days)[-1] == days[-1]
    assert buckets.label(buckets.number - 1) == date(days[-1])


# ---------------------------------------------------------------------------------------------------- the command line


def test_command_writes_a_report_and_prints_a_summary(tmp_path: Path) -> None:
    tried = tmp_path / "tried.yaml"
    tried.write_text(TEXT.replace("to: at_risk, after: 90d", "to: at_risk, after: 60d"))
    out = tmp_path / "reports" / "r.html"
    args: list[str | Path] = [
        "--playbook",
        tried,
        "--against",
        "ecommerce",
        "--clickstream",
        CLICKS,
        "--orders",
        ORDERS,
    ]
    result = command(
        *args, "--out", out, "--now", "2026-11-21T12:00:00Z", "--until", "2027-03-15T00:00:00Z", "--max-rejected", "40"
    )
    assert result.exit_code == 0, result.output
    assert out.read_text().startswith("<!doctype html>")
    assert re.search(r"^differences +[1-9][0-9]*  customers$", result.output, re.MULTILINE)
    assert f"written to    {out}" in result.output
    assert [path.name for path in out.parent.iterdir()] == ["r.html"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--playbook", "ecommerce"], "a history is read from files"),
        (["--playbook", "ecommerce", "--topics", "--orders", str(ORDERS)], "a history is read from files"),
        (
            ["--playbook", "ecomerce", "--orders", str(ORDERS)],
            "there is no playbook 'ecomerce'; did you mean ecommerce?",
        ),
        (["--playbook", "/no.yaml", "--orders", str(ORDERS)], "the playbook /no.yaml cannot be read"),
        (["--playbook", "ecommerce", "--orders", "/no.jsonl"], "/no.jsonl cannot be read"),
        (["--playbook", "ecommerce", "--orders", str(ORDERS), "--out", "/proc/no/r.html"], "cannot be written"),
    ],
)
def test_mistake_is_reported_in_one_sentence(args: list[str], said: str) -> None:
    result = command(*args)
    assert (result.exit_code, result.output.count("\n")) == (2, 1)
    assert result.output.startswith("lifecycle: ")
    assert said in result.output


def test_playbooks_that_read_the_same_event_differently_are_not_compared() -> None:
    with pytest.raises(UserError, match="differ in their currency"):
        decoders(Settings(), playbooks.parse(TEXT, deployment=Policy(currency="USD")), OLD)


def test_without_a_broker_topics_cannot_be_read() -> None:
    result = command("--playbook", "ecommerce", "--topics", LIFECYCLE_BROKER=f"127.0.0.1:{reserve_port()}")
    assert result.exit_code == 2
    assert "cannot be read" in result.output
