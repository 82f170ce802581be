"""The Prometheus adapter: the shell tells it plain facts, a scrape gets them in the exposition format.

Counters and histograms move as things happen. Gauges are computed when scraped, from the facts last given: what lags
goes on lagging while the event loop is stuck, and what belongs to a revoked partition is gone because nothing is left
that tells of it.
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
from streams.observe.catalogue import CATALOGUE, HOLDS, OTHER, SOURCE, Metric
from streams.observe.facts import RepartitionTaskReadings, SourceReadings, TaskReadings

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
    """One to which many equal observations cost no more than one."""

    def observe_all(self, amount: float, number: int) -> None:
        """As so many calls of `observe`. The last bucket is that of +Inf."""
        self._sum.inc(amount * number)
        self._buckets[bisect_left(self._upper_bounds, amount)].inc(number)


M = TypeVar("M", client.Counter, Histogram)
Sample = tuple[str, tuple[str, ...], float]
"""A gauge's name, label values in the catalogue's order, value."""


class Metrics(Collector):
    """What one worker shows to Prometheus. All methods but `exposition` are called by the shell on its event loop.

    `ready` and `event_loop_lag` are asked at each scrape, in the scrape's thread. `clock` tells epoch seconds. `strict`
    is for tests: what the catalogue does not know raises, where a worker logs it once and goes on.
    """

    def __init__(
        self,
        *,
        version: str,
        ready: Callable[[], bool],
        event_loop_lag: Callable[[], float],
        clock: Callable[[], float] = time.time,
        strict: bool = False,
    ) -> None:
        # Series of creation times would double the number of series, and Prometheus does not need them.
        client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self._version = version
        self._ready = ready
        self._event_loop_lag = event_loop_lag
        self._clock = clock
        self._strict = strict
        self._reported: set[str] = set()

        # What gauges are computed from. Values are replaced, never changed: the scrape reads them in another thread.
        self._assigned: frozenset[int] = frozenset()
        self._tasks: dict[int, TaskReadings] = {}
        self._readers: Mapping[tuple[str, int], RepartitionTaskReadings | None] = {}
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

        # Resolved once: looking a child up by its labels costs more than moving it.
        self._counter_children: dict[tuple[str, ...], client.Counter] = {}
        self._histogram_children: dict[tuple[str, ...], Histogram] = {}

    # -- told as it happens

    def engine_counts(self, counts: Mapping[tuple[CounterName, str], int]) -> None:
        """`Effects.counts` of one call of the engine. `rejected` may be among them, by the source's name."""
        for (name, label), count in counts.items():
            if (child := self._tally(name, label)) is not None:
                child.inc(count)

    def strings(self, source: str, rejected: int, cut: int) -> None:
        """So many identifiers of a chunk were taken as absent, and so many strings of it cut."""
        if rejected:
            self._counter("lifecycle_identifiers_rejected_total", source).inc(rejected)
        if cut:
            self._counter("lifecycle_trimmed_total", "strings").inc(cut)

    def dead_letter(self, topic: str, reason: str) -> None:
        """A record of `topic` went to the dead-letter topic."""
        self._counter("lifecycle_dead_letters_total", topic, reason).inc()

    def wrong_partition(self, topic: str, count: int = 1) -> None:
        """Records of `topic` were not on their customer's partition."""
        self._counter("lifecycle_wrong_partition_total", topic).inc(count)

    def forwarded(self, source: str, records: int, parts: int) -> None:
        """So many records, and parts of records, of a chunk are on their way to where they belong."""
        self._counter("lifecycle_repartition_sent_records_total", source).inc(records)
        self._counter("lifecycle_repartition_sent_parts_total", source).inc(parts)

    def outputs_sent(self, outputs: Iterable[Output]) -> None:
        """Outputs were acknowledged."""
        for labels, count in Counter(map(_labels_of, outputs)).items():
            self._counter(*labels).inc(count)

    def output_latency(self, topic: str, seconds: Iterable[float]) -> None:
        """Of outputs acknowledged on `topic`: since the Kafka timestamps of the records that caused them."""
        histogram = self._histogram("lifecycle_output_latency_seconds", topic)
        for latency, number in Counter(seconds).items():  # outputs of one chunk, acknowledged together, share theirs
            histogram.observe_all(latency, number)

    def deadlines_fired(self, delays: Iterable[float]) -> None:
        """Deadlines fired live (not in a catch-up), so many seconds after they were due."""
        histogram = self._histogram("lifecycle_deadline_delay_seconds")
        for delay in delays:
            histogram.observe(delay)

    def chunk(self, source: str, records: int, seconds: float) -> None:
        """A chunk was processed."""
        self._histogram("lifecycle_chunk_seconds", source).observe(seconds)
        self._histogram("lifecycle_chunk_records", source).observe(records)

    def committed(self, seconds: float | None) -> None:
        """Nothing is left to commit: a commit went through, in so many seconds, or there was nothing to write."""
        if seconds is not None:
            self._histogram("lifecycle_commit_seconds").observe(seconds)
        if self._committed_at is not None:
            self._committed_at = self._clock()

    def transaction(self, outcome: str, seconds: float | None = None) -> None:
        """A transaction ended: `committed` (after so many seconds), `fenced` or `failed`."""
        self._counter("lifecycle_transactions_total", outcome).inc()
        if seconds is not None:
            self._histogram("lifecycle_transaction_seconds").observe(seconds)

    def changelog_read(self, records: int) -> None:
        """Records of the changelog were read, by recovery or for a standby."""
        self._counter("lifecycle_recovery_records_total").inc(records)

    def recovery_restarted(self) -> None:
        """Recovery stood still, and reading starts again."""
        self._counter("lifecycle_recovery_restarts_total").inc()

    # -- told as it stands

    def assigned(self, partitions: Collection[int], readers: Collection[tuple[str, int]] = ()) -> None:
        """All the partitions this worker processes from now on: none when a rebalance begins, the new ones once they
        are recovered. What was told of others is dropped, and not taken up until they are again. Counters go on.

        `readers`: the topic partitions that it reads independently, in the same way.
        """
        self._readers = {reader: self._readers.get(reader) for reader in readers}
        self._assigned = frozenset(partitions)
        self._committed_at = self._clock() if partitions or readers else None
        self._tasks = {partition: facts for partition, facts in self._tasks.items() if partition in self._assigned}

    def task(self, facts: TaskReadings) -> None:
        """A partition task as it stands: every second or so."""
        if facts.partition in self._assigned:
            self._tasks = {**self._tasks, facts.partition: facts}
            self._stages |= {stage for stage, _ in facts.population}
            self._places |= {(track, stage) for track, stage, _ in facts.places}

    def repartition_task(self, topic: str, facts: RepartitionTaskReadings) -> None:
        """A reader as it stands: every second or so."""
        if (topic, facts.partition) in self._readers:
            self._readers = {**self._readers, (topic, facts.partition): facts}

    def consumer_lag(self, records: Mapping[tuple[str, int], int]) -> None:
        """Records behind the end, by (topic, partition): all of them at once."""
        self._consumer_lag = dict(records)

    def recovery_remaining(self, records: Mapping[int, int], seconds: float | None) -> None:
        """Changelog records still to be read, by partition: all of them at once, none once they are recovered. And how
        long that will take, None if it cannot be told."""
        self._recovery = dict(records)
        self._recovery_seconds = seconds

    def silent_sources(self, sources: Collection[str]) -> None:
        """The sources that are held for silence (`idle_timeout`): all of them at once."""
        self._silent = frozenset(sources)

    def clock_skew(self, seconds: float) -> None:
        """The worker's clock less the broker's."""
        self._clock_skew = seconds

    def playbook_disagreement(self, partitions: int) -> None:
        """Partitions whose last commit was made under another playbook than this worker's."""
        self._disagreement = partitions

    def last_failure(self, reason: str, at: float, times: Mapping[str, int]) -> None:
        """Told once: the worker before this one in its data directory ended by itself, at `at` (epoch seconds).

        `times`: by reason, how often any has there.
        """
        self._last_failure = reason, at
        for each, number in times.items():
            self._counter("lifecycle_failures_total", each).inc(number)

    # -- the scrape

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """What `/metrics` answers to an `Accept` header, and its content type. Called in any thread."""
        if "application/openmetrics-text" in accept:
            return openmetrics.generate_latest(self._registry), OPENMETRICS  # type: ignore[no-untyped-call]
        return client.generate_latest(self._registry), TEXT

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges. Called by the registry at each scrape."""
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
        now, assigned, readers = self._clock(), self._assigned, self._readers
        tasks = [facts for facts in self._tasks.values() if facts.partition in assigned]
        yield "lifecycle_ready", (), self._ready()
        yield "lifecycle_build_info", (self._version,), 1
        yield "lifecycle_event_loop_lag_seconds", (), self._event_loop_lag()
        yield "lifecycle_partitions_assigned", (), len(assigned)
        yield "lifecycle_repartition_tasks_assigned", (), len(readers)
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
            if number in assigned or (topic, number) in readers:
                yield "lifecycle_consumer_lag_records", (topic, str(number)), records
        for number, records in self._recovery.items():
            yield "lifecycle_recovery_records_remaining", (str(number),), records
        if self._recovery_seconds is not None:
            yield "lifecycle_recovery_remaining_seconds", (), self._recovery_seconds
        customers = dict.fromkeys(self._stages, 0)  # a stage that everybody left shows 0, not nothing
        places = dict.fromkeys(self._places, 0)
        for task in tasks:
            yield from _gauges_of(task, now)
            for track, stage, count in task.places:
                places[track, stage] = places.get((track, stage), 0) + count
            for stage, count in task.population:
                customers[stage] = customers.get(stage, 0) + count
        for reader in readers.values():
            if reader is not None:
                yield from _gauges_of_source(str(reader.partition), reader.source, now)
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

    def _tally(self, name: CounterName, label: str) -> client.Counter | None:
        metric = ENGINE_METRICS.get(name)
        if metric is not None:
            if metric == "lifecycle_events_total":
                return self._counter(metric, label, name)
            if name == "outputs_withheld":
                output, _, reason = label.partition("/")
                return self._counter(metric, output, reason)
            return self._counter(metric, label)
        self._unknown(f"the engine's tally {name!r}")
        return None

    def _bounded(self, metric: Metric, values: tuple[str, ...]) -> tuple[str, ...]:
        """Label values with those outside a closed set replaced: no scrape shows what nobody foresaw."""
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
            log.error("Not in the metric catalogue, so not counted as it should be: %s", what)


def _closed(metric: Metric) -> list[tuple[str, ...]]:
    """All label values of a metric whose labels are all closed sets: these series stand at 0 from the start, so that
    the first event is an increase and not the birth of a series."""
    if any(label.values is None for label in metric.labels):
        return []
    return list(product(*(label.values or () for label in metric.labels)))


def _labels_of(output: Output) -> tuple[str, ...]:
    """The counter that an output moves, and its label values."""
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
    for held_by in HOLDS.values or ():
        yield "lifecycle_watermark_blocked_by", (partition, held_by), held_by == task.blocked_by
    yield "lifecycle_largest_profile_bytes", (partition,), task.largest_profile_bytes
    yield "lifecycle_erasures_waiting", (partition,), task.erasures_waiting
    yield "lifecycle_erasure_residue", (partition,), task.erasure_residue
    for facts in task.sources:
        yield from _gauges_of_source(partition, facts, now)


def _gauges_of_source(partition: str, facts: SourceReadings, now: float) -> Iterator[Sample]:
    labels = (partition, facts.source)
    if facts.progress is not None:
        yield "lifecycle_source_progress_lag_seconds", labels, now - facts.progress / 1000
    yield "lifecycle_source_caught_up", labels, facts.drained
    yield "lifecycle_source_backfilling", labels, facts.backfilling
    yield "lifecycle_buffered_bytes", labels, facts.buffered_bytes
