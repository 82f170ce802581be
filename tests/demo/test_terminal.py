"""The figures of the demo's screen, from records and metrics."""

from __future__ import annotations

import io
import re
import uuid
from typing import Any

import msgspec
import pytest
from rich.console import Console

from streams import deployment
from streams.core.model.event import Source
from streams.demo.configuration import environment, windows
from streams.demo.scrape import Scrape
from streams.demo.shop_history import DemoEvent
from streams.demo.statistics import STAGES, Statistics
from streams.demo.terminal import Caption, progress_line, render, summary
from streams.settings import Settings, load

SETTINGS = Settings()
CAPTION = Caption("A title", "browse 8s", "A note")
METRICS = """\
# HELP lifecycle_events_total Input records.
# TYPE lifecycle_events_total counter
lifecycle_events_total{outcome="applied",source="clickstream"} 1500.0
lifecycle_events_total{outcome="applied",source="orders"} 40.0
lifecycle_events_total{outcome="duplicate",source="clickstream"} 3.0
lifecycle_events_total{outcome="rejected",source="orders"} 2.0
lifecycle_consumer_lag_records{partition="0",topic="clickstream"} 4.0
lifecycle_consumer_lag_records{partition="1",topic="clickstream"} 1.0
lifecycle_watermark_lag_seconds{partition="0"} 15.25
lifecycle_stage_changes_total{cause="activity",from_stage="none",to_stage="visitor",track="lifecycle"} 6.0
lifecycle_abandonments_total{kind="cart",step="1"} 2.0
lifecycle_abandonments_created{kind="cart",step="1"} 1.7e+09
lifecycle_dead_letters_total{reason="a \\"b\\"",topic="orders"} 2.0
lifecycle_ready 1.0
"""


def stage_change(left: str | None, entered: str | None, customer: str = "ada") -> dict[str, Any]:
    cause = {"kind": "activity"}
    return {"type": "stage_changed", "customer_id": customer, "from_stage": left, "to_stage": entered, "cause": cause}


def abandonment(type: str, kind: str = "cart", step: int = 1, **more: Any) -> dict[str, Any]:
    return {"type": type, "customer_id": "ada", "kind": kind, "step": step, "value": "12.50", "currency": "EUR", **more}


def linked(customer: str = "ada", type: str = "linked") -> dict[str, Any]:
    return {"type": type, "customer_id": customer, "anonymous_id": "phone"}


def statistics_of(*documents: dict[str, Any]) -> Statistics:
    made = Statistics(SETTINGS)
    for document in documents:
        topics = {"stage_changed": SETTINGS.stage_changes_topic}
        topics |= dict.fromkeys(("linked", "switched", "refused"), SETTINGS.identities_topic)
        topic = topics.get(document["type"], SETTINGS.abandonments_topic)
        whole = {"id": str(uuid.uuid4()), "occurred_at": "2026-11-21T10:00:00.000Z"} | document
        made.add_output(topic, msgspec.json.encode(whole), {})
    return made


def text(shown: Statistics, width: int = 80) -> str:
    console = Console(file=io.StringIO(), record=True, width=width)
    console.print(render(shown, CAPTION, "http://127.0.0.1:6066"))
    return console.export_text()


# ------------------------------------------------------------------------------------------------------ as subscriber


def test_customers_and_flows_follow_from_stage_changes() -> None:
    shown = statistics_of(
        stage_change(None, "visitor"),
        stage_change("visitor", "prospect"),
        stage_change(None, "visitor", "bob"),
        stage_change(None, "visitor", "eve"),
        stage_change("visitor", None, "eve"),
    )
    assert {stage: count for stage, count in shown.stages.items() if count} == {"visitor": 1, "prospect": 1}
    assert shown.flows == {("", "visitor"): 3, ("visitor", "prospect"): 1, ("visitor", ""): 1}


def test_an_output_that_comes_again_counts_once() -> None:
    shown = statistics_of(stage_change(None, "visitor") | {"id": "1"}, stage_change(None, "visitor") | {"id": "1"})
    assert (shown.stages["visitor"], shown.received) == (1, 1)


def test_abandonments_are_counted_by_kind_and_outcome() -> None:
    shown = statistics_of(
        abandonment("abandoned"),
        abandonment("abandoned", step=2),
        abandonment("recovered", step=2, match="items"),
        abandonment("abandoned", "checkout"),
        abandonment("retracted", "checkout", reason="late_order"),
        abandonment("expired"),
    )
    assert shown.abandonments == {
        ("cart", "1"): 1,
        ("cart", "2"): 1,
        ("cart", "recovered"): 1,
        ("checkout", "1"): 1,
        ("checkout", "retracted"): 1,
        ("cart", "expired"): 1,
    }
    assert shown.count("1") == 2
    assert [what for _, _, what in shown.latest] == [
        "cart abandoned, 12.50 EUR",
        "cart abandoned again, 12.50 EUR",
        "cart recovered (items)",
        "checkout abandoned, 12.50 EUR",
        "checkout retracted (late_order)",
        "cart expired",
    ]


def test_identity_changes_are_counted_and_listed() -> None:
    gone = stage_change("visitor", None, "phone") | {"cause": {"kind": "merge"}}
    shown = statistics_of(
        stage_change(None, "visitor", "phone"), linked(), gone, linked("bob", "refused"), linked("eve", "switched")
    )
    assert shown.identities == {"linked": 1, "refused": 1, "switched": 1}
    assert [(customer, what) for _, customer, what in shown.latest] == [
        ("phone", "new → visitor"),
        ("ada", "is phone"),
        ("phone", "visitor → merged"),
        ("bob", "is not phone"),
        ("eve", "is now phone"),
    ]


def test_dead_letters_are_counted_by_reason() -> None:
    shown = Statistics(SETTINGS)
    shown.add_output(SETTINGS.dead_letters_topic, b"\xff", {"__streams.errors.reason": b"not_json"})
    assert (shown.dead_letters, shown.received) == ({"not_json": 1}, 1)


# ------------------------------------------------------------------------------------------------------- from metrics


def test_samples_are_read_by_name_and_labels() -> None:
    scrape = Scrape(METRICS)
    assert scrape.total("lifecycle_events_total") == 1545
    assert scrape.total("lifecycle_events_total", source="orders", outcome="applied") == 40
    assert scrape.total("lifecycle_dead_letters_total", topic="orders") == 2
    assert list(scrape.values("lifecycle_watermark_lag_seconds")) == [15.25]
    assert scrape.total("lifecycle_nothing") == 0


def test_statistics_take_their_figures_from_the_metrics() -> None:
    shown = Statistics(SETTINGS)
    shown.update_from_metrics(Scrape(METRICS), 10.0)
    assert (shown.processed, shown.lag, shown.sent, shown.watermark_lags) == (1545, 5, 10, [15.25])


def test_rate_is_measured_over_the_last_seconds() -> None:
    shown = Statistics(SETTINGS)
    for at, processed in ((0, 0), (1, 100_000), (10, 100_000), (11, 100_500), (12, 101_000)):
        shown.update_from_metrics(
            Scrape(f'lifecycle_events_total{{outcome="applied",source="orders"}} {processed}'), at
        )
    assert shown.rate == 500


def test_time_taken_counts_from_the_readiness_of_the_worker() -> None:
    shown = Statistics(SETTINGS)
    shown.played = 1000
    for at, ready, processed in (
        (1, 0, 0),
        (2, 0, 0),
        (3, 1, 0),
        (4, 1, 989),
        (5, 1, 990),
        (9, 1, 1000),
        (20, 1, 1000),
    ):
        events = f'lifecycle_events_total{{outcome="applied",source="orders"}} {processed}\nlifecycle_ready {ready}'
        shown.update_from_metrics(Scrape(events), at)
    assert (shown.seconds_to_99_percent, shown.seconds) == (3, 7)


# --------------------------------------------------------------------------------------------------------- on screen


@pytest.mark.parametrize("width", [80, 120])
def test_the_screen_shows_every_figure_and_fits(width: int) -> None:
    shown = statistics_of(
        *[stage_change(None, stage, stage) for stage in STAGES],
        *[stage_change("visitor", "prospect", f"c-{n}") for n in range(1234)],
        *[abandonment("abandoned", kind) for kind in ("browse", "cart", "checkout") for _ in range(1111)],
    )
    shown.played = 31_106
    shown.update_from_metrics(Scrape(METRICS), 0.0)
    lines = text(shown, width).splitlines()
    assert len(lines) == 25
    assert max(map(len, lines)) <= width
    whole = re.sub(" +", " ", "\n".join(lines))
    for part in (
        *STAGES,
        *("1,235", "1,234 visitor → prospect", "(new)"),
        *("abandoned 1,111 1,111 1,111", "recovered", "retracted", "expired"),
        *("1,545 of 31,106 processed", "lag 5", "http://127.0.0.1:6066/metrics", "browse 8s", "A title", "A note"),
    ):
        assert part in whole


def test_progress_without_a_terminal_is_one_line() -> None:
    shown = statistics_of(stage_change(None, "visitor"), abandonment("abandoned"))
    shown.played = 2_000
    shown.update_from_metrics(Scrape(METRICS), 0.0)
    line = progress_line(shown, "History")
    assert line == "History: 1,545 of 2,000 events, 0/s, lag 5; 1 stage changes, 1 abandonments, 0 recovered"


def test_summary_has_the_figures_that_the_readme_shows() -> None:
    shown = statistics_of(
        stage_change(None, "visitor"),
        stage_change("visitor", "prospect"),
        abandonment("abandoned"),
        abandonment("abandoned", step=2),
        abandonment("recovered", match="cart"),
        linked(),
    )
    shown.played, shown.seconds_to_99_percent, shown.seconds = 1000, 0.5, 2.25
    shown.outcomes.update(applied=999, duplicate=1)
    events = [DemoEvent(Source.CLICKSTREAM, at, "ada", "phone", b"") for at in (0, 86_400_000)]
    assert summary(shown, events).splitlines() == [
        "events played  1,000 of 1 customers, 1970-01-01 to 1970-01-02",
        "processed      in 2.2 s, 99 % of it in 0.5 s: 1,980/s (applied 999, duplicate 1, rejected 0)",
        "identified     1 devices linked to customers",
        "customers      prospect 1",
        "stage changes  2 ((new) → visitor 1, visitor → prospect 1)",
        "abandonments   1 (browse 0, cart 1, checkout 0)",
        "again          1 a second time, 0 a third time",
        "recoveries     1 (browse 0, cart 1, checkout 0)",
        "retracted      0",
        "expired        0",
        "dead letters   0",
    ]


# ----------------------------------------------------------------------------------------------------- configuration


def test_windows_shown_are_those_of_the_settings() -> None:
    assert windows("history") == "browse 30m, cart 1h, checkout 30m, dormant 30d, at risk 90d, lapsed 180d"
    assert windows("live").startswith("browse 8s, cart 10s, checkout 8s")


def test_shop_history_is_processed_with_the_default_playbook() -> None:
    assert load(environment("history", "k:1", "demo-1-", own=True)).playbook == Settings().playbook


@pytest.mark.parametrize("own", [True, False])
def test_demo_environment_has_only_settings_that_a_worker_knows(own: bool) -> None:
    history = load(environment("history", "k:1", "demo-1-", own=own))
    live = load(environment("live", "k:1", "demo-1-", own=own))
    assert (history.broker, history.emit_after, history.max_emit_delay) == ("k:1", "always", None)
    assert deployment.load_playbook(live).policy.cart_window == 10_000
    assert not set(history.topics.values()) & set(live.topics.values())
    assert all(name.startswith("demo-1-") for name in [*history.topics.values(), history.app_id, live.app_id])


def test_the_embedded_broker_has_the_names_of_the_wire_contract() -> None:
    assert load(environment("history", "127.0.0.1:9092", "", own=True)).topics == SETTINGS.topics
