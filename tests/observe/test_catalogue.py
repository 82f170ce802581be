"""The catalogue of metrics is complete, keeps the conventions, and agrees with the code."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import streams.devtools
import streams.shell
import streams.transport
from streams import settings
from streams.contracts.fields import FIELDS, LINE_REASONS
from streams.contracts.rejected import REASONS
from streams.core.model.event import Source
from streams.devtools import apache_kafka
from streams.errors import Fault, UserError
from streams.observe import docs
from streams.observe.catalogue import (
    CATALOGUE,
    DEAD_LETTER_REASONS,
    FAILURES,
    FIELDS_IGNORED,
    LINES_IGNORED,
    OTHER,
    SOURCE,
    Metric,
)
from streams.shell.admin import erasure_requests

ROOT = Path(__file__).parents[2]
NAMES = {metric.name for metric in CATALOGUE}
PAGE = docs.render()
HISTOGRAM_PARTS = ("bucket", "sum", "count")

each_metric = pytest.mark.parametrize("metric", CATALOGUE, ids=lambda metric: metric.name)


def test_metric_names_are_unique() -> None:
    assert len(NAMES) == len(CATALOGUE)


@each_metric
def test_every_metric_has_a_help_text_and_a_reason_to_worry(metric: Metric) -> None:
    assert len(metric.help.split()) >= 3
    assert metric.help.endswith(".")
    assert len(metric.worry.split()) >= 4
    assert metric.worry.endswith(".")
    assert all(label.meaning for label in metric.labels)


@each_metric
def test_metric_names_follow_the_prometheus_conventions(metric: Metric) -> None:
    assert re.fullmatch(r"lifecycle(_[a-z]+)+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert not re.search(r"_(ms|milliseconds|minutes|hours|kb|mb|kilobytes|percent|count|sum|bucket)(_|$)", metric.name)
    for unit in ("seconds", "bytes"):
        assert metric.name.removesuffix("_total").endswith(f"_{unit}") == (metric.unit == unit)
    if metric.unit:
        assert metric.name.endswith(f"_{metric.unit}")
    for label in metric.labels:
        assert re.fullmatch("[a-z]+(_[a-z]+)*", label.name)
        assert label.name != "le"


@each_metric
def test_only_histograms_have_buckets_and_they_increase(metric: Metric) -> None:
    assert bool(metric.buckets) == (metric.kind == "histogram")
    assert list(metric.buckets) == sorted(set(metric.buckets))


@each_metric
def test_advice_names_metrics_and_settings_that_exist(metric: Metric) -> None:
    said = metric.help + metric.worry
    assert set(re.findall(r"\blifecycle(?:_[a-z]+)+", said)) <= NAMES
    assert set(re.findall(r"\bLIFECYCLE_[A-Z_]+", said)) <= {settings.PREFIX + key.upper() for key in settings.FIELDS}


def test_closed_label_sets_are_those_of_the_code() -> None:
    assert set(DEAD_LETTER_REASONS) == set(REASONS)
    assert (LINES_IGNORED, FIELDS_IGNORED) == (LINE_REASONS, FIELDS)
    assert SOURCE.values == tuple(source.name.lower() for source in Source)


def kinds_of(error: type[UserError]) -> set[type[UserError]]:
    return {kind for each in error.__subclasses__() for kind in ({each} | kinds_of(each))}


def test_every_fault_has_its_own_reason_and_pages_if_it_lasts() -> None:
    for package in (streams.shell, streams.transport, streams.devtools):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name != "streams.shell.app":  # this module makes an application from the environment
                importlib.import_module(module.name)
    errors = {
        kind
        for kind in kinds_of(UserError)
        if kind.__module__.startswith(("streams.shell", "streams.transport", "streams.devtools"))
    }
    faults = [kind for kind in errors if issubclass(kind, Fault) and kind is not Fault]
    of_commands = {erasure_requests.NoCustomerNamed, apache_kafka.Unavailable}  # these end no worker
    assert errors - set(faults) == of_commands
    assert sorted([*(fault.reason for fault in faults), OTHER]) == sorted(FAILURES)
    rules = (ROOT / "deploy" / "prometheus" / "alerts.yml").read_text(encoding="utf-8")
    [passing] = re.findall(r'lifecycle_last_failure_timestamp_seconds\{reason!~"(.*)"\}', rules)
    assert set(passing.split("|")) == {*(fault.reason for fault in faults if fault.passes), OTHER}
    [repeating] = re.findall(r'lifecycle_failures_total\{reason=~"(.*)"\}', rules)
    assert set(repeating.split("|")) < set(passing.split("|"))


def test_metrics_page_is_up_to_date() -> None:
    committed = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert committed == PAGE, "run: python -m streams.observe.docs > docs/metrics.md"


def test_metrics_page_has_every_metric_with_its_advice() -> None:
    for metric in CATALOGUE:
        entry = PAGE.split(f"### `{metric.name}`\n")[1].split("###")[0]
        assert metric.help in entry
        assert metric.worry in entry
        assert all(f"`{label.name}`" in entry for label in metric.labels)


def test_alert_rules_query_existing_metrics() -> None:
    shown = NAMES | {f"{metric.name}_{part}" for metric in CATALOGUE if metric.buckets for part in HISTOGRAM_PARTS}
    rules = (ROOT / "deploy" / "prometheus" / "alerts.yml").read_text(encoding="utf-8")
    asked = set(re.findall(r"\blifecycle(?:_[a-z]+)+", rules))
    assert asked
    assert asked <= shown
