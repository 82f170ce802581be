"""The Prometheus adapter: the shell reports events and readings, a scrape returns them in the exposition format.

Counters and histograms change when something is reported. Gauges are computed at each scrape from the latest readings,
so that a lag keeps growing while the event loop is stuck. Gauges of a revoked partition disappear with its readings.
"""

from __future__ import annotations

import logging
import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import product
from typing import Final, TypeVar

import prometheus_client as client
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from streams.core.model.counters import CounterName
from streams.core.model.outputs import IdentityChange, Output, StageChange, Triggered
from streams.observe.catalogue import BLOCKERS, CATALOGUE, OTHER, SOURCE, Metric
from streams.observe.readings import RepartitionTaskReadings, SourceReadings, TaskReadings

log = logging.getLogger(__name__)

METRICS: Final = {metric.name: metric for metric in CATALOGUE}
ENGINE_METRICS: Final[dict[CounterName, str]] = {
    "applied": "lifecycle_events_total",
    "duplicate": "lifecycle_events_total",
    "replayed": "lifecycle_events_total",
    "erased": "lifecycle_events_total",
    "rejected": "lifecycle_events_total",
    "late": "lifecycle_events_late_total",
    "out_of_order": "lifecycle_events_out_of_order_total",
    "corrections_ignored": "lifecycle_corrections_ignored_total",
    "orders_conflicting": "lifecycle_orders_conflicting_total",
    "outputs_withheld": "lifecycle_outputs_withheld_total",
    "trimmed": "lifecycle_trimmed_total",
    "repartition_received": "lifecycle_repartition_received_records_total",
    "internal_messages": "lifecycle_internal_messages_total",
    "identity_resolution": "lifecycle_identity_resolution_total",
    "erasures": "lifecycle_erasures_total",
}
"""The metric of each counter of the engine. The counter's label is the metric's; `lifecycle_events_total` has the name
of the counter as its outcome, too."""
NO_STAGE: Final = "none"
TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"


class Histogram(client.Histogram):
    """A histogram in which many equal observations cost no more than one."""

    def observe_all(self, amount: float, number: int) -> None:
        """Observe `amount` `number` times. The last bucket is that of +Inf."""
        self._sum.inc(amount * number)
        self._buckets[bisect_left(self._upper_bounds, amount)].inc(number)


M = TypeVar("M", client.Counter, Histogram)
Sample = tuple[str, tuple[str, ...], float]
"""A gauge's name, label values in the catalogue's order, value."""


class Metrics(Collector):
    """The metrics of one worker. The shell calls all methods but `exposition` on its event loop.

    Each scrape calls `ready` and `event_loop_lag` in its own thread. `clock` returns epoch seconds. `playbook`: its
    name, version and digest. `strict` is for tests: a name or value outside the catalogue raises ValueError, while a
    worker logs it once and continues.
    """

    def __init__(
        self,
        *,
        version: str,
        playbook: tuple[str, int, str] | None = None,
        ready: Callable[[], bool],
        event_loop_lag: Callable[[], float],
        clock: Callable[[], float] = time.time,
        strict: bool = False,
    ) -> None:
        # Series of creation times would double the number of series, and Prometheus does not need them.
        client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self._version = version
        self._playbook = playbook
        self._ready = ready
        self._event_loop_lag = event_loop_lag
        self._clock = clock
        self._strict = strict
        self._reported: set[str] = set()

        # Gauges are computed from these. Values are replaced, never changed: the scrape reads them in another thread.
        self._assigned: frozenset[int] = frozenset()
        self._tasks: dict[int, TaskReadings] = {}
        self._repartition_tasks: Mapping[tuple[str, int], RepartitionTaskReadings | None] = {}
        self._consumer_lag: Mapping[tuple[str, int], int] = {}
        self._recovery: Mapping[int, int] = {}
        self._recovery_seconds: float | None = 0.0
        self._silent: frozenset[str] = frozenset()
        self._clock_skew: float | None = None
        self._committed_at: float | None = None
        self._disagreement = 0
        self._last_failure: tuple[str, float] | None = None
        self._stages: frozenset[str] = frozenset()
        self._places: frozenset[tuple[str, str]] = frozenset()

        self._registry = client.CollectorRegistry()
        client.ProcessCollector(registry=self._registry)
        client.PlatformCollector(registry=self._registry)
        client.GCCollector(registry=self._registry)
        self._counters: dict[str, client.Counter] = {}
        self._histograms: dict[str, Histogram] = {}
        self._build()
        self._registry.register(self)

        # Cached: looking up a child by its labels costs more than incrementing it.
        self._counter_children: dict[tuple[str, ...], client.Counter] = {}
        self._histogram_children: dict[tuple[str, ...], Histogram] = {}

    # -- reported as it happens

    def engine_counts(self, counts: Mapping[tuple[CounterName, str], int]) -> None:
        """Add the `counts` of one call of the engine. `rejected` may be among them, by the source's name."""
        for (name, label), count in counts.items():
            if (child := self._engine_counter(name, label)) is not None:
                child.inc(count)

    def decoded(self, source: str, counts: Iterable[tuple[tuple[str, str], int]]) -> None:
        """Count what was left out of the records of a chunk: `streams.contracts.fields.Counts`."""
        for (name, label), count in counts:
            if name == "strings_cut":
                self._counter("lifecycle_trimmed_total", "strings").inc(count)
            elif name == "identifiers_rejected":
                self._counter("lifecycle_identifiers_rejected_total", source).inc(count)
            else:
                self._counter(f"lifecycle_{name}_total", source, label).inc(count)

    def dead_letter(self, topic: str, reason: str) -> None:
        """Count a record of `topic` that became a dead letter."""
        self._counter("lifecycle_dead_letters_total", topic, reason).inc()

    def wrong_partition(self, topic: str, count: int = 1) -> None:
        """Count records of `topic` that were not on their customer's partition."""
        self._counter("lifecycle_wrong_partition_total", topic).inc(count)

    def forwarded(self, source: str, records: int, parts: int) -> None:
        """Count the records of a chunk, and the parts of records, that were forwarded to their partitions."""
        self._counter("lifecycle_repartition_sent_records_total", source).inc(records)
        self._counter("lifecycle_repartition_sent_parts_total", source).inc(parts)

    def outputs_sent(self, outputs: Iterable[Output]) -> None:
        """Count acknowledged outputs."""
        for labels, count in Counter(map(_labels_of, outputs)).items():
            self._counter(*labels).inc(count)

    def output_latency(self, topic: str, seconds: Iterable[float]) -> None:
        """Observe, for outputs acknowledged on `topic`, the seconds since the Kafka timestamps of their records."""
        histogram = self._histogram("lifecycle_output_latency_seconds", topic)
        for latency, number in Counter(seconds).items():  # outputs of one chunk, acknowledged together, share theirs
            histogram.observe_all(latency, number)

    def shared_customer_id(self) -> None:
        """Count a customer id that has more devices than a person has."""
        self._counter("lifecycle_shared_customer_ids_total").inc()

    def deadlines_fired(self, delays: Iterable[float]) -> None:
        """Observe the delays, in seconds, of deadlines fired live (not in a catch-up)."""
        histogram = self._histogram("lifecycle_deadline_delay_seconds")
        for delay in delays:
            histogram.observe(delay)

    def chunk(self, source: str, records: int, seconds: float) -> None:
        """Observe a processed chunk."""
        self._histogram("lifecycle_chunk_seconds", source).observe(seconds)
        self._histogram("lifecycle_chunk_records", source).observe(records)

    def committed(self, seconds: float | None) -> None:
        """Note that nothing is left to commit: a commit took `seconds`, or there was nothing to write (None)."""
        if seconds is not None:
            self._histogram("lifecycle_commit_seconds").observe(seconds)
        if self._committed_at is not None:
            self._committed_at = self._clock()

    def transaction(self, outcome: str, seconds: float | None = None) -> None:
        """Count a transaction that ended: `committed` (after `seconds`), `fenced` or `failed`."""
        self._counter("lifecycle_transactions_total", outcome).inc()
        if seconds is not None:
            self._histogram("lifecycle_transaction_seconds").observe(seconds)

    def changelog_read(self, records: int) -> None:
        """Count records of the changelog read by recovery or for a standby."""
        self._counter("lifecycle_recovery_records_total").inc(records)

    def recovery_restarted(self) -> None:
        """Count a restart of reading after recovery stood still."""
        self._counter("lifecycle_recovery_restarts_total").inc()

    # -- reported as it stands

    def assigned(self, partitions: Collection[int], repartition_tasks: Collection[tuple[str, int]] = ()) -> None:
        """Replace the partitions that this worker processes: none when a rebalance begins, the new ones once they are
        recovered. Readings of other partitions are dropped, and ignored until they are assigned again. Counters
        continue.

        `repartition_tasks`: the topic partitions of the worker's repartition tasks, replaced in the same way.
        """
        self._repartition_tasks = {key: self._repartition_tasks.get(key) for key in repartition_tasks}
        self._assigned = frozenset(partitions)
        self._committed_at = self._clock() if partitions or repartition_tasks else None
        self._tasks = {number: task for number, task in self._tasks.items() if number in self._assigned}

    def task(self, readings: TaskReadings) -> None:
        """Replace the readings of a partition task, about once a second."""
        if readings.partition in self._assigned:
            self._tasks = {**self._tasks, readings.partition: readings}
            self._stages |= {stage for stage, _ in readings.population}
            self._places |= {(track, stage) for track, stage, _ in readings.places}

    def repartition_task(self, topic: str, readings: RepartitionTaskReadings) -> None:
        """Replace the readings of a repartition task, about once a second."""
        if (topic, readings.partition) in self._repartition_tasks:
            self._repartition_tasks = {**self._repartition_tasks, (topic, readings.partition): readings}

    def consumer_lag(self, records: Mapping[tuple[str, int], int]) -> None:
        """Replace all consumer lags: records behind the end, by (topic, partition)."""
        self._consumer_lag = dict(records)

    def recovery_remaining(self, records: Mapping[int, int], seconds: float | None) -> None:
        """Replace the changelog records still to be read, by partition (empty once recovered), and the seconds that
        this still takes, None if unknown."""
        self._recovery = dict(records)
        self._recovery_seconds = seconds

    def silent_sources(self, sources: Collection[str]) -> None:
        """Replace the set of sources that are silent beyond their idle timeout."""
        self._silent = frozenset(sources)

    def clock_skew(self, seconds: float) -> None:
        """Set the difference of the worker's clock from the broker's."""
        self._clock_skew = seconds

    def playbook_disagreement(self, partitions: int) -> None:
        """Set the number of partitions whose last commit was made under another playbook than this worker's."""
        self._disagreement = partitions

    def last_failure(self, reason: str, at: float, times: Mapping[str, int]) -> None:
        """Set, once, the failure of the previous worker in the data directory, at `at` (epoch seconds).

        `times` counts all failures of workers in that directory by reason.
        """
        self._last_failure = reason, at
        for each, number in times.items():
            self._counter("lifecycle_failures_total", each).inc(number)

    # -- the scrape

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """Return the answer of `/metrics` to an `Accept` header, and its content type. Called in any thread."""
        if "application/openmetrics-text" in accept:
            return openmetrics.generate_latest(self._registry), OPENMETRICS  # type: ignore[no-untyped-call]
        return client.generate_latest(self._registry), TEXT

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges. Called by the registry at each scrape."""
        samples = defaultdict(list)
        for name, labels, value in self._gauges():
            samples[name].append((labels, value))
        for metric in CATALOGUE:
            if metric.kind == "gauge":
                family = GaugeMetricFamily(
                    metric.name, metric.help, labels=[label.name for label in metric.labels], unit=metric.unit
                )
                for labels, value in samples.pop(metric.name, ()):
                    family.add_metric(self._bounded(metric, labels), value)
                yield family

    def _gauges(self) -> Iterator[Sample]:
        now, assigned, repartition_tasks = self._clock(), self._assigned, self._repartition_tasks
        tasks = [task for task in self._tasks.values() if task.partition in assigned]
        yield "lifecycle_ready", (), self._ready()
        yield "lifecycle_build_info", (self._version,), 1
        if self._playbook is not None:
            name, number, digest = self._playbook
            yield "lifecycle_playbook_info", (name, str(number), digest), 1
        yield "lifecycle_event_loop_lag_seconds", (), self._event_loop_lag()
        yield "lifecycle_partitions_assigned", (), len(assigned)
        yield "lifecycle_repartition_tasks_assigned", (), len(repartition_tasks)
        yield "lifecycle_playbook_disagreements", (), self._disagreement
        if self._last_failure is not None:
            reason, at = self._last_failure
            yield "lifecycle_last_failure_timestamp_seconds", (reason,), at
        if self._committed_at is not None:
            yield "lifecycle_last_commit_timestamp_seconds", (), self._committed_at
        if self._clock_skew is not None:
            yield "lifecycle_clock_skew_seconds", (), self._clock_skew
        for source in SOURCE.values or ():
            yield "lifecycle_source_silent", (source,), source in self._silent
        for (topic, number), records in self._consumer_lag.items():
            if number in assigned or (topic, number) in repartition_tasks:
                yield "lifecycle_consumer_lag_records", (topic, str(number)), records
        for number, records in self._recovery.items():
            yield "lifecycle_recovery_records_remaining", (str(number),), records
        if self._recovery_seconds is not None:
            yield "lifecycle_recovery_remaining_seconds", (), self._recovery_seconds
        customers = dict.fromkeys(self._stages, 0)  # a stage that all customers left shows 0
        places = dict.fromkeys(self._places, 0)
        for task in tasks:
            yield from _gauges_of(task, now)
            for track, stage, count in task.places:
                places[track, stage] = places.get((track, stage), 0) + count
            for stage, count in task.population:
                customers[stage] = customers.get(stage, 0) + count
        for readings in repartition_tasks.values():
            if readings is not None:
                yield from _gauges_of_source(str(readings.partition), readings.source, now)
        for stage, count in customers.items():
            yield "lifecycle_customers", (stage,), count
        for place, count in places.items():
            yield "lifecycle_track_customers", place, count

    # -- from the catalogue to collectors

    def _build(self) -> None:
        for metric in CATALOGUE:
            labels = [label.name for label in metric.labels]
            if metric.kind == "counter":
                collector = client.Counter(metric.name, metric.help, labels, registry=self._registry)
                self._counters[metric.name] = collector
                if labels and (combinations := _closed(metric)):
                    for values in combinations:
                        collector.labels(*values)
            elif metric.kind == "histogram":
                self._histograms[metric.name] = Histogram(
                    metric.name, metric.help, labels, unit=metric.unit, buckets=metric.buckets, registry=self._registry
                )

    def _counter(self, name: str, *labels: str) -> client.Counter:
        return self._counter_children.get((name, *labels)) or self._child(
            self._counters[name], self._counter_children, METRICS[name], labels
        )

    def _histogram(self, name: str, *labels: str) -> Histogram:
        return self._histogram_children.get((name, *labels)) or self._child(
            self._histograms[name], self._histogram_children, METRICS[name], labels
        )

    def _child(self, parent: M, children: dict[tuple[str, ...], M], metric: Metric, labels: tuple[str, ...]) -> M:
        bounded = self._bounded(metric, labels)
        child = parent.labels(*bounded) if bounded else parent
        if bounded == labels:  # else the cache would not be bounded
            children[metric.name, *labels] = child
        return child

    def _engine_counter(self, name: CounterName, label: str) -> client.Counter | None:
        metric = ENGINE_METRICS.get(name)
        if metric is not None:
            if metric == "lifecycle_events_total":
                return self._counter(metric, label, name)
            if name == "outputs_withheld":
                output, _, reason = label.partition("/")
                return self._counter(metric, output, reason)
            return self._counter(metric, label)
        self._unknown(f"the engine's counter {name!r}")
        return None

    def _bounded(self, metric: Metric, values: tuple[str, ...]) -> tuple[str, ...]:
        """Return the label values, with `other` for each that is outside its closed set."""
        bounded = []
        for label, value in zip(metric.labels, values, strict=True):
            known = label.values is None or value in label.values or value == OTHER
            if not known:
                self._unknown(f"a value of {metric.name}{{{label.name}}}")  # the value itself is not for the log
            bounded.append(value if known else OTHER)
        return tuple(bounded)

    def _unknown(self, what: str) -> None:
        if self._strict:
            raise ValueError(f"not in the metric catalogue: {what}")
        if what not in self._reported:
            self._reported.add(what)
            log.error("Not in the metric catalogue, so it is not counted correctly: %s", what)


def _closed(metric: Metric) -> list[tuple[str, ...]]:
    """Return all combinations of label values if all labels are closed sets. These series start at 0, so that the first
    event is an increase and not the birth of a series."""
    if any(label.values is None for label in metric.labels):
        return []
    return list(product(*(label.values or () for label in metric.labels)))


def _labels_of(output: Output) -> tuple[str, ...]:
    """Return the counter of an output, and its label values."""
    if isinstance(output, StageChange):
        left, entered = output.from_stage or NO_STAGE, output.to_stage or NO_STAGE
        return "lifecycle_stage_changes_total", output.track, left, entered, output.cause.kind
    if isinstance(output, Triggered):
        return "lifecycle_triggers_total", output.trigger, str(output.step), str(output.held_out).lower()
    if isinstance(output, IdentityChange):
        return "lifecycle_identity_changes_total", output.type
    match output.type:
        case "abandoned":
            return "lifecycle_abandonments_total", output.kind, str(output.step)
        case "recovered":
            return "lifecycle_recoveries_total", output.kind, output.match or OTHER
        case "retracted":
            return "lifecycle_retractions_total", output.kind, output.reason or OTHER
        case "expired":
            return "lifecycle_expirations_total", output.kind


def _gauges_of(task: TaskReadings, now: float) -> Iterator[Sample]:
    partition = str(task.partition)
    yield "lifecycle_watermark_blocked_by_partition", (partition,), task.blocked_by_partition
    yield "lifecycle_repartition_buffered_bytes", (partition,), task.repartition_buffered_bytes
    if task.watermark is not None:
        yield "lifecycle_watermark_lag_seconds", (partition,), now - task.watermark / 1000
    yield "lifecycle_timers_pending", (partition,), task.timers
    yield "lifecycle_aliases", (partition,), task.aliases
    for blocker in BLOCKERS.values or ():
        yield "lifecycle_watermark_blocked_by", (partition, blocker), blocker == task.blocked_by
    yield "lifecycle_largest_profile_bytes", (partition,), task.largest_profile_bytes
    yield "lifecycle_erasures_waiting", (partition,), task.erasures_waiting
    yield "lifecycle_erasure_residue", (partition,), task.erasure_residue
    for source in task.sources:
        yield from _gauges_of_source(partition, source, now)


def _gauges_of_source(partition: str, readings: SourceReadings, now: float) -> Iterator[Sample]:
    labels = (partition, readings.source)
    if readings.progress is not None:
        yield "lifecycle_source_progress_lag_seconds", labels, now - readings.progress / 1000
    yield "lifecycle_source_caught_up", labels, readings.caught_up
    yield "lifecycle_source_backfilling", labels, readings.backfilling
    yield "lifecycle_buffered_bytes", labels, readings.buffered_bytes
