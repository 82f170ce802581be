"""The adapter makes the exposition from reports and readings."""

from __future__ import annotations

import inspect
import logging
import os
import shutil
import subprocess
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from streams.core.model.counters import COUNTER_LABELS
from streams.observe.catalogue import CATALOGUE
from streams.observe.prometheus import Metrics
from tests.observe.readings import NOW, OUTPUTS, SECRET, TALLIES, adapter, feed_everything, stage_change, task


def scrape(metrics: Metrics) -> dict[str, dict[frozenset[tuple[str, str]], float]]:
    """Return the value of each sample, by name and labels."""
    samples: dict[str, dict[frozenset[tuple[str, str]], float]] = {}
    for family in text_string_to_metric_families(metrics.exposition()[0].decode()):
        for sample in family.samples:
            samples.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return samples


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return scrape(metrics).get(name, {}).get(frozenset(labels.items()))


def test_latencies_that_are_equal_are_observed_one_by_one() -> None:
    latencies = [0.02, 0.02, 0.1, 0.1, 0.1, 7.0, 1e9, 1e9, -0.5]
    together, apart = adapter(), adapter()
    together.output_latency("lifecycle-stage-changes", latencies)
    for latency in latencies:
        apart._histogram("lifecycle_output_latency_seconds", "lifecycle-stage-changes").observe(latency)
    name = "lifecycle_output_latency_seconds"
    assert value(together, f"{name}_count", topic="lifecycle-stage-changes") == len(latencies)
    for part in ("bucket", "count"):
        assert scrape(together)[f"{name}_{part}"] == scrape(apart)[f"{name}_{part}"]
    total = value(together, f"{name}_sum", topic="lifecycle-stage-changes")
    assert total == pytest.approx(sum(latencies))


# -- the whole


def test_every_metric_of_the_catalogue_is_exposed_and_changes() -> None:
    before, metrics = scrape(adapter()), adapter()
    feed_everything(metrics)
    after = scrape(metrics)
    always = {"lifecycle_ready", "lifecycle_build_info", "lifecycle_playbook_info", "lifecycle_event_loop_lag_seconds"}
    for metric in CATALOGUE:
        name = metric.name + ("_count" if metric.kind == "histogram" else "")
        assert after.get(name), f"{name} is never shown"
        assert name in always or after[name] != before.get(name), f"{name} is never moved"


def test_feed_calls_every_method_of_the_adapter() -> None:
    fed = inspect.getsource(feed_everything)
    told = [name for name, _ in inspect.getmembers(Metrics, inspect.isfunction) if not name.startswith("_")]
    missing = {name for name in told if f"metrics.{name}(" not in fed} - {"collect", "describe", "exposition"}
    assert not missing


def test_exposition_has_exactly_the_labels_of_the_catalogue() -> None:
    metrics = adapter()
    feed_everything(metrics)
    samples = scrape(metrics)
    for metric in CATALOGUE:
        name = metric.name + ("_count" if metric.kind == "histogram" else "")
        for labels in samples[name]:
            assert {label for label, _ in labels} == {label.name for label in metric.labels}


def test_exposition_has_only_metrics_of_the_catalogue_and_the_process() -> None:
    metrics = adapter()
    feed_everything(metrics)
    names = {metric.name for metric in CATALOGUE}
    for family in text_string_to_metric_families(metrics.exposition()[0].decode()):
        name = family.name + ("_total" if family.type == "counter" else "")
        assert name in names or name.startswith(("process_", "python_"))


def test_process_metrics_are_exposed() -> None:
    samples = scrape(adapter())
    assert samples["process_cpu_seconds_total"]
    assert samples["python_info"]
    assert samples["python_gc_collections_total"]


def test_promtool_accepts_the_exposition() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        assert os.environ.get("CI") != "true", "promtool is not installed, and CI must have it"
        pytest.skip("promtool is not installed (it comes with Prometheus)")
    metrics = adapter()
    feed_everything(metrics)
    done = subprocess.run(
        [promtool, "check", "metrics"], input=metrics.exposition()[0], capture_output=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_metrics_are_rendered_as_text_and_as_openmetrics() -> None:
    metrics = adapter()
    feed_everything(metrics)
    text, text_type = metrics.exposition("text/html, */*;q=0.1")
    assert text_type.startswith("text/plain; version=0.0.4")
    body, content_type = metrics.exposition("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.1")
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    families = {family.name: family for family in parse_openmetrics(body.decode())}  # type: ignore[no-untyped-call]
    assert families["lifecycle_commit_seconds"].unit == "seconds"
    assert families.keys() == {family.name for family in text_string_to_metric_families(text.decode())}


def test_exposition_has_no_creation_times() -> None:
    assert b"_created" not in adapter().exposition()[0]


# -- personal data


def test_no_identifier_is_exposed_or_logged(caplog: pytest.LogCaptureFixture) -> None:
    metrics = adapter(strict=False)
    metrics.outputs_sent(OUTPUTS)
    # Also if one is passed by mistake: every label has a closed set of values.
    metrics.dead_letter("clickstream", SECRET)
    metrics.decoded(SECRET, {("identifiers_rejected", ""): 1}.items())
    metrics.chunk(SECRET, 1, 0.1)
    metrics.silent_sources({SECRET})
    metrics.engine_counts({(name, SECRET): 1 for name, _ in TALLIES})
    metrics.assigned({3})
    shown = metrics.exposition()[0].decode()
    assert SECRET not in shown
    assert SECRET not in caplog.text
    assert 'lifecycle_stage_changes_total{cause="activity"' in shown


# -- counters


def test_outputs_are_counted_by_their_labels() -> None:
    metrics = adapter()
    metrics.outputs_sent(OUTPUTS)
    metrics.outputs_sent([stage_change()])
    change = {"track": "lifecycle", "cause": "activity"}
    stages = "lifecycle_stage_changes_total"
    assert value(metrics, stages, from_stage="visitor", to_stage="prospect", **change) == 2
    assert value(metrics, stages, from_stage="none", to_stage="visitor", **change) == 1
    assert value(metrics, stages, from_stage="visitor", to_stage="none", **change) == 1
    assert value(metrics, "lifecycle_abandonments_total", kind="cart", step="1") == 1
    assert value(metrics, "lifecycle_abandonments_total", kind="cart", step="2") == 1
    assert value(metrics, "lifecycle_recoveries_total", kind="cart", match="items") == 1
    assert value(metrics, "lifecycle_retractions_total", kind="cart", reason="late_order") == 1
    assert value(metrics, "lifecycle_expirations_total", kind="cart") == 1


def test_engine_counts_are_added_to_their_metrics() -> None:
    metrics = adapter()
    metrics.engine_counts(TALLIES)
    metrics.engine_counts({("applied", "clickstream"): 2})
    assert value(metrics, "lifecycle_events_total", source="clickstream", outcome="applied") == 7
    assert value(metrics, "lifecycle_events_total", source="orders", outcome="duplicate") == 1
    assert value(metrics, "lifecycle_events_total", source="orders", outcome="replayed") == 2
    assert value(metrics, "lifecycle_events_total", source="clickstream", outcome="rejected") == 3
    assert value(metrics, "lifecycle_events_late_total", source="clickstream") == 4
    assert value(metrics, "lifecycle_events_out_of_order_total", source="orders") == 1
    assert value(metrics, "lifecycle_corrections_ignored_total", reason="refund_currency") == 1
    assert value(metrics, "lifecycle_outputs_withheld_total", type="abandoned", reason="delayed") == 1
    assert value(metrics, "lifecycle_trimmed_total", what="cart_lines") == 1


def test_every_counter_and_label_of_the_engine_has_a_metric() -> None:
    adapter().engine_counts({(name, label): 1 for name, labels in COUNTER_LABELS.items() for label in labels})
    assert {name for name, _ in TALLIES} == set(COUNTER_LABELS)


def test_series_with_closed_labels_start_at_0() -> None:
    metrics = adapter()
    assert value(metrics, "lifecycle_events_total", source="orders", outcome="rejected") == 0
    assert value(metrics, "lifecycle_retractions_total", kind="checkout", reason="late_activity") == 0
    assert value(metrics, "lifecycle_failures_total", reason="fenced") == 0


@pytest.mark.parametrize(
    "counter",
    [
        ("merged", "orders"),
        ("applied", "fax"),
        ("outputs_withheld", "abandoned/because"),
        ("outputs_withheld", "delayed"),
        ("late", ""),
    ],
)
def test_unknown_engine_count_raises_in_tests(counter: tuple[Any, str]) -> None:
    with pytest.raises(ValueError, match="not in the metric catalogue"):
        adapter().engine_counts({counter: 1})


def test_unknown_engine_count_is_logged_once_by_a_worker_and_the_others_count(caplog: pytest.LogCaptureFixture) -> None:
    metrics = adapter(strict=False)
    unknown: dict[Any, int] = {("merged", "orders"): 1, ("applied", "fax"): 1}
    for _ in range(3):
        metrics.engine_counts(unknown | {("applied", "orders"): 1})
    assert value(metrics, "lifecycle_events_total", source="orders", outcome="applied") == 3
    assert value(metrics, "lifecycle_events_total", source="other", outcome="applied") == 3
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2


# -- gauges


def test_readings_of_a_task_are_exposed() -> None:
    metrics = adapter()
    metrics.assigned({3})
    metrics.task(task(3))
    assert value(metrics, "lifecycle_watermark_lag_seconds", partition="3") == 15.5
    assert value(metrics, "lifecycle_watermark_blocked_by", partition="3", source="orders") == 1
    assert value(metrics, "lifecycle_watermark_blocked_by", partition="3", source="clickstream") == 0
    assert value(metrics, "lifecycle_watermark_blocked_by_partition", partition="3") == 5
    assert value(metrics, "lifecycle_repartition_buffered_bytes", partition="3") == 1234
    assert value(metrics, "lifecycle_source_progress_lag_seconds", partition="3", source="orders") == 5.5
    assert value(metrics, "lifecycle_source_caught_up", partition="3", source="orders") == 1
    assert value(metrics, "lifecycle_source_backfilling", partition="3", source="clickstream") == 1
    assert value(metrics, "lifecycle_timers_pending", partition="3") == 12
    assert value(metrics, "lifecycle_largest_profile_bytes", partition="3") == 4096
    assert value(metrics, "lifecycle_buffered_bytes", partition="3", source="clickstream") == 77


def test_lags_grow_while_nothing_is_reported() -> None:
    now = [NOW]
    metrics = adapter(clock=lambda: now[0])
    metrics.assigned({3})
    metrics.task(task(3))
    now[0] += 100
    assert value(metrics, "lifecycle_watermark_lag_seconds", partition="3") == 115.5
    assert value(metrics, "lifecycle_source_progress_lag_seconds", partition="3", source="orders") == 105.5


def test_customers_are_summed_over_tasks() -> None:
    metrics = adapter()
    metrics.assigned({3, 4})
    metrics.task(task(3, visitor=2, customer=1))
    metrics.task(task(4, visitor=5))
    assert value(metrics, "lifecycle_customers", stage="visitor") == 7
    assert value(metrics, "lifecycle_customers", stage="customer") == 1
    metrics.task(task(3, visitor=3))
    assert value(metrics, "lifecycle_customers", stage="visitor") == 8
    assert value(metrics, "lifecycle_customers", stage="customer") == 0


def test_a_revoked_partition_leaves_no_series_and_counters_go_on() -> None:
    metrics = adapter()
    feed_everything(metrics)
    counters = {metric.name for metric in CATALOGUE if metric.kind != "gauge"}
    before = scrape(metrics)
    metrics.recovery_remaining({}, 0.0)
    metrics.assigned({3})
    metrics.task(task(4, visitor=5))  # reported too late
    after = scrape(metrics)
    assert not [labels for series in after.values() for labels in series if ("partition", "4") in labels]
    assert after["lifecycle_watermark_lag_seconds"] == {frozenset({("partition", "3")}): 15.5}
    assert after["lifecycle_partitions_assigned"] == {frozenset(): 1}
    assert value(metrics, "lifecycle_customers", stage="visitor") == 2
    for name, series in before.items():
        if any(name.startswith(counter) for counter in counters):
            assert after[name] == series

    metrics.assigned({3, 4})
    assert value(metrics, "lifecycle_watermark_lag_seconds", partition="4") is None  # earlier values are gone
    assert scrape(metrics)["lifecycle_events_total"] == before["lifecycle_events_total"]


def test_recovery_progress_is_exposed_before_anything_is_processed() -> None:
    metrics = adapter()
    metrics.assigned(())
    metrics.recovery_remaining({0: 12_000}, 7.5)
    assert value(metrics, "lifecycle_recovery_records_remaining", partition="0") == 12_000
    assert value(metrics, "lifecycle_recovery_remaining_seconds") == 7.5
    metrics.recovery_remaining({0: 12_000}, None)  # no records arrive, so the value is unknown
    assert value(metrics, "lifecycle_recovery_remaining_seconds") is None
    metrics.recovery_remaining({}, 0.0)
    assert value(metrics, "lifecycle_recovery_records_remaining", partition="0") is None


def test_metrics_without_a_value_are_not_exposed() -> None:
    metrics = adapter()
    metrics.assigned({0})
    assert value(metrics, "lifecycle_clock_skew_seconds") is None
    assert value(metrics, "lifecycle_watermark_lag_seconds", partition="0") is None


def test_time_of_the_last_commit_is_exposed_while_partitions_are_assigned() -> None:
    now = [NOW]
    metrics = adapter(clock=lambda: now[0])
    name = "lifecycle_last_commit_timestamp_seconds"
    metrics.committed(None)
    assert value(metrics, name) is None
    metrics.assigned((), {("orders", 7)})
    now[0] += 100
    assert value(metrics, name) == NOW  # nothing since
    metrics.committed(0.1)
    now[0] += 100
    assert value(metrics, name) == NOW + 100
    metrics.committed(None)
    assert value(metrics, name) == NOW + 200
    metrics.assigned(())
    metrics.committed(0.1)  # of released partitions
    assert value(metrics, name) is None
    metrics.assigned({3})
    assert value(metrics, name) == NOW + 200


def test_readiness_and_loop_lag_are_read_at_each_scrape() -> None:
    ready, lag = [False], [0.0]
    metrics = adapter(ready=lambda: ready[0], event_loop_lag=lambda: lag[0])
    assert value(metrics, "lifecycle_ready") == 0
    ready[0], lag[0] = True, 7.5
    assert value(metrics, "lifecycle_ready") == 1
    assert value(metrics, "lifecycle_event_loop_lag_seconds") == 7.5


# -- histograms


def test_observations_fall_into_buckets() -> None:
    metrics = adapter()
    metrics.deadlines_fired((14.0, 16.5, 40.0))
    assert value(metrics, "lifecycle_deadline_delay_seconds_count") == 3
    assert value(metrics, "lifecycle_deadline_delay_seconds_sum") == 70.5
    assert value(metrics, "lifecycle_deadline_delay_seconds_bucket", le="15.0") == 1
    assert value(metrics, "lifecycle_deadline_delay_seconds_bucket", le="20.0") == 2
