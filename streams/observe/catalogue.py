"""Every metric of a worker, as data: the one place that says what is measured, in what unit, and when to worry.

`streams.observe.prometheus` builds its collectors from this table and `docs/metrics.md` is generated from it. Names are
as a scrape shows them, times in seconds, sizes in bytes. No label is of a customer: labels come from the code, the
playbook and the settings, so that the number of series is bounded and no scrape holds personal data.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from streams.core.model.counters import COUNTER_LABELS, OUTPUT_TYPES, STREAM_LABELS, WITHHELD_REASONS
from streams.core.model.event import Source

KindOfMetric = Literal["counter", "gauge", "histogram"]
OTHER: Final = "other"
"""What a label shows whose value is none of its closed set: a defect here, but no reason to stop a worker."""


class Label(msgspec.Struct, frozen=True):
    """A label. `values` closes its set (its series then stand at 0 from the start); None: what `meaning` says."""

    name: str
    meaning: str
    values: tuple[str, ...] | None = None


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """One metric. `unit` is the base unit its name shows, "" for a plain number. `buckets` are upper bounds."""

    name: str
    kind: KindOfMetric
    help: str
    worry: str
    labels: tuple[Label, ...] = ()
    unit: Literal["", "seconds", "bytes", "records"] = ""
    buckets: tuple[float, ...] = ()


SOURCE = Label("source", "the input role", tuple(source.name.lower() for source in Source))
HOLDS = Label("source", "the input role, or what tasks pass on to each other", (*(SOURCE.values or ()), *STREAM_LABELS))
TOPIC = Label("topic", "a topic's name, from the settings")
PARTITION = Label("partition", "a partition's number; a task owns it in every source topic that it reads")
KIND = Label("kind", "of the abandonment", ("browse", "cart", "checkout"))

DEAD_LETTER_REASONS = (
    "null_value", "too_large", "not_utf8", "too_deep", "not_json", "not_object", "no_identity", "invalid_identity",
    "missing_time", "invalid_time", "clock_skew", "invalid_money", "unknown_currency", "invalid_field",
    "wrong_partition", "corrupt_batch",
)  # fmt: skip
"""Held against `streams.contracts` by a test: neither package imports the other."""

IDENTITY_TYPES = ("linked", "switched", "refused", "erased")

FAILURES = (
    "out_of_range",
    "topic_recreated",
    "no_offset",
    "truncated",
    "records_missing",
    "state_behind",
    "co_partitioning_changed",
    "salt_changed",
    "identity_resolution_off",
    "partitions_added",
    "partition_count_changed",
    "changelog_recreated",
    "recovery_stuck",
    "disk_failed",
    "fetching_ended",
    "commit_failed",
    "commit_late",
    "fenced",
    "membership_lost",
    "shutdown_forced",
    "changelog_unreadable",
    "defect",
    OTHER,
)
"""Held against `streams.errors.Fault` by a test."""
FAILURE = Label("reason", "see the runbook; `other` is what has no name of its own", FAILURES)

TRIMMED = (*COUNTER_LABELS["trimmed"], "strings")
"""The parts of a profile or an alias that the core bounds, and the strings that the decoders cut."""

FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
SLOW = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

CATALOGUE: Final[tuple[Metric, ...]] = (
    # -- what came in
    Metric(
        name="lifecycle_events_total",
        kind="counter",
        help="Input records by what became of them: applied, a duplicate, one applied before a restart, of somebody "
        "erased since, or rejected.",
        labels=(
            SOURCE,
            Label("outcome", "what became of it", ("applied", "duplicate", "replayed", "erased", "rejected")),
        ),
        worry="`applied` of a source stands still while its topic grows; `rejected` is more than a few in a thousand; "
        "`duplicate` jumps (a producer retries, or a source is delivered twice); `replayed` without a restart.",
    ),
    Metric(
        name="lifecycle_events_late_total",
        kind="counter",
        help="Activities older than the watermark when they were applied.",
        labels=(SOURCE,),
        worry="More than a few in a hundred of `lifecycle_events_total`: abandonments are sent and taken back. Raise "
        "the source's delay (`LIFECYCLE_CLICKSTREAM_DELAY`, `LIFECYCLE_ORDERS_DELAY`), or `LIFECYCLE_LATENESS`.",
    ),
    Metric(
        name="lifecycle_events_out_of_order_total",
        kind="counter",
        help="Activities older than the last one of their customer.",
        labels=(SOURCE,),
        worry="A jump after a release of a client: its clocks, or the order in which it sends, have changed.",
    ),
    Metric(
        name="lifecycle_corrections_ignored_total",
        kind="counter",
        help="Refunds and updates of orders that changed nothing: they were in another currency than the order.",
        labels=(Label("reason", "what it was", COUNTER_LABELS["corrections_ignored"]),),
        worry="Any steady rate: revenue is too high by what was refunded. Ask who sends the orders.",
    ),
    Metric(
        name="lifecycle_identifiers_rejected_total",
        kind="counter",
        help="Identifiers taken as absent: placeholders such as null or 0, or longer than 256 bytes.",
        labels=(SOURCE,),
        worry="A jump: a client sends a placeholder where the customer's id belongs.",
    ),
    Metric(
        name="lifecycle_dead_letters_total",
        kind="counter",
        help="Records put on the dead-letter topic, by the topic they came from and the reason.",
        labels=(TOPIC, Label("reason", "the reason in the record's headers", DEAD_LETTER_REASONS)),
        worry="Any steady rate: read the dead-letter topic, it holds the records and says what is wrong with each. "
        "`clock_skew` means a clock that runs ahead.",
    ),
    Metric(
        name="lifecycle_wrong_partition_total",
        kind="counter",
        help="Records on a partition that is not their customer's.",
        labels=(TOPIC,),
        worry="More than 0: the producer keys by something else or uses another partitioner than "
        "`LIFECYCLE_PARTITIONER` says, or the topic's partitions were increased.",
    ),
    # -- what came out
    Metric(
        name="lifecycle_stage_changes_total",
        kind="counter",
        help="Stage changes sent. Stages are none where a profile begins or ends.",
        labels=(
            Label("track", "the track's name"),
            Label("from_stage", "the stage left, or `none`"),
            Label("to_stage", "the stage entered, or `none`"),
            Label("cause", "why", ("activity", "inactivity", "merge", "forgotten", "playbook", "erased")),
        ),
        worry="0 while events are applied; a wave into `at_risk`, `lapsed` or `dormant` (a source is missing).",
    ),
    Metric(
        name="lifecycle_abandonments_total",
        kind="counter",
        help="Abandonments sent, every step of them.",
        labels=(KIND, Label("step", "1, 2, …")),
        worry="A jump of step 1 against `lifecycle_events_total`: orders may not be coming in. Look at "
        "`lifecycle_source_progress_lag_seconds` of `orders`, and consider "
        "`LIFECYCLE_ORDERS_IDLE_TIMEOUT`.",
    ),
    Metric(
        name="lifecycle_recoveries_total",
        kind="counter",
        help="Abandonments recovered by an order, by what ties the order to them.",
        labels=(KIND, Label("match", "the strongest tie", ("cart", "checkout", "items", "customer"))),
        worry="`customer` takes the share of `cart`: orders no longer carry `cart_id` or `checkout_id`.",
    ),
    Metric(
        name="lifecycle_retractions_total",
        kind="counter",
        help="Abandonments taken back, by reason.",
        labels=(KIND, Label("reason", "what contradicted it", ("late_order", "late_activity", "merge"))),
        worry='More than a few in a hundred of `lifecycle_abandonments_total{step="1"}`: a source delivers later '
        "than its delay says (`LIFECYCLE_ORDERS_DELAY`, `LIFECYCLE_CLICKSTREAM_DELAY`).",
    ),
    Metric(
        name="lifecycle_expirations_total",
        kind="counter",
        help="Abandonments expired, unrecovered.",
        labels=(KIND,),
        worry="For the business to judge, against recoveries.",
    ),
    Metric(
        name="lifecycle_triggers_total",
        kind="counter",
        help="Triggers sent, step by step, those of held-out customers too.",
        labels=(
            Label("trigger", "its name in the playbook"),
            Label("step", "from 1"),
            Label("held_out", "whether the customer is only to be observed", ("true", "false")),
        ),
        worry="A trigger that is at 0 where it was not before: an event that it needs no longer comes.",
    ),
    Metric(
        name="lifecycle_identity_changes_total",
        kind="counter",
        help="Identity changes sent: a device came to be a customer's, or another one's, or was refused to one, or "
        "somebody was erased.",
        labels=(Label("type", "what changed", IDENTITY_TYPES),),
        worry="`switched` takes the share of `linked`: devices are shared, or a client keeps the `anonymous_id` of the "
        "one who signed out.",
    ),
    Metric(
        name="lifecycle_outputs_withheld_total",
        kind="counter",
        help="Outputs made but not sent, by reason. State advances all the same.",
        labels=(
            Label("type", "the output's type", OUTPUT_TYPES),
            Label("reason", "why", WITHHELD_REASONS),
        ),
        worry="`delayed`: the worker was down or behind for longer than `LIFECYCLE_MAX_EMIT_DELAY`. `source_silent`: "
        "a source is dead. `before_emit_after` is normal while history is read.",
    ),
    Metric(
        name="lifecycle_output_latency_seconds",
        kind="histogram",
        help="From an input record's Kafka timestamp to the acknowledgement of the output it caused.",
        labels=(TOPIC,),
        unit="seconds",
        buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0),
        worry="The 99th percentile above 1 s while `lifecycle_consumer_lag_records` is near 0 (with exactly-once: "
        "above two of `LIFECYCLE_COMMIT_INTERVAL`).",
    ),
    Metric(
        name="lifecycle_deadline_delay_seconds",
        kind="histogram",
        help="From a deadline to its firing by the wall clock, of deadlines fired live.",
        unit="seconds",
        buckets=(5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 120.0, 300.0, 900.0, 3600.0, 21600.0),
        worry="The median above a minute. About 15 s is normal: the delay of the sources plus "
        "`LIFECYCLE_LATENESS`, and a commit.",
    ),
    # -- what belongs elsewhere
    Metric(
        name="lifecycle_repartition_sent_records_total",
        kind="counter",
        help="Records that were not on their customer's partition, and were forwarded there.",
        labels=(SOURCE,),
        worry="Most of a source: its producers do not key by customer id, and each record is read twice.",
    ),
    Metric(
        name="lifecycle_repartition_sent_parts_total",
        kind="counter",
        help="What records tell of ids that live on other partitions (whose a device or a cart is), sent there.",
        labels=(SOURCE,),
        worry="0 with `LIFECYCLE_IDENTITY_RESOLUTION=on` and several partitions: no event has both ids, so "
        "nobody is recognised.",
    ),
    Metric(
        name="lifecycle_internal_messages_total",
        kind="counter",
        help="Items made for wherever a device or a customer lives: what carts tell of devices (`carts`); events of "
        "devices that are a customer's, and profiles that move (`devices`).",
        labels=(Label("stream", "by what they were made", COUNTER_LABELS["internal_messages"]),),
        worry="It stands still while events with an anonymous id alone are applied: nobody is recognised any more.",
    ),
    Metric(
        name="lifecycle_identity_resolution_total",
        kind="counter",
        help="Devices that came to be a customer's (`linked`) or another one's (`switched`), or were not given to who "
        "ordered what was in the cart of somebody else's (`refused`); late sign-ins of who had a device before who has "
        "it (`earlier`: nobody is told); and profiles `merged`.",
        labels=(Label("outcome", "what became known", COUNTER_LABELS["identity_resolution"]),),
        worry="`switched` takes the share of `linked`: devices are shared, or a client keeps the `anonymous_id` of the "
        "one who signed out. `refused` does: one `cart_id` or `checkout_id` is used for many carts.",
    ),
    Metric(
        name="lifecycle_repartition_received_records_total",
        kind="counter",
        help="Forwarded records that were taken in, or passed over: forwarded again after a restart, or out of turn.",
        labels=(Label("outcome", "what became of it", COUNTER_LABELS["repartition_received"]),),
        worry="`repeated` without a restart or a rebalance.",
    ),
    Metric(
        name="lifecycle_repartition_buffered_bytes",
        kind="gauge",
        help="What other partitions forwarded here and waits, because a source somewhere has not come as far.",
        labels=(PARTITION,),
        unit="bytes",
        worry="It grows outside of a catch-up: `lifecycle_watermark_blocked_by_partition` says for whom it waits.",
    ),
    # -- time
    Metric(
        name="lifecycle_watermark_lag_seconds",
        kind="gauge",
        help="How far the task's watermark is behind the wall clock.",
        labels=(PARTITION,),
        unit="seconds",
        worry="Above 60 s for 5 min outside of a catch-up: deadlines fire late. `lifecycle_watermark_blocked_by` names "
        "the source.",
    ),
    Metric(
        name="lifecycle_watermark_blocked_by",
        kind="gauge",
        help="1 for the source with the least progress, which holds the watermark, else 0. With linking it may be what "
        "tasks pass on to each other.",
        labels=(PARTITION, HOLDS),
        worry="Only together with a lag: it says where to look.",
    ),
    Metric(
        name="lifecycle_watermark_blocked_by_partition",
        kind="gauge",
        help="The number of the partition whose source holds the watermark: the own one, or one that forwards to it.",
        labels=(PARTITION,),
        worry="Only together with a lag. It names another partition: that one's worker is away, or it is behind.",
    ),
    Metric(
        name="lifecycle_source_progress_lag_seconds",
        kind="gauge",
        help="How far the source's progress is behind the wall clock.",
        labels=(PARTITION, SOURCE),
        unit="seconds",
        worry="One source far above the other: it is behind, its leader is away, or its events come late.",
    ),
    Metric(
        name="lifecycle_source_caught_up",
        kind="gauge",
        help="1 while the source is known to hold nothing more, else 0.",
        labels=(PARTITION, SOURCE),
        worry="0 for minutes while `lifecycle_consumer_lag_records` is 0: fetches do not succeed.",
    ),
    Metric(
        name="lifecycle_source_backfilling",
        kind="gauge",
        help="1 while the source is being backfilled, so that being drained proves nothing yet, else 0.",
        labels=(PARTITION, SOURCE),
        worry="1 when nobody is backfilling: a producer sends events an hour old or more, and holds time back.",
    ),
    Metric(
        name="lifecycle_source_silent",
        kind="gauge",
        help="1 while abandonments are held back because the source's whole topic is silent, else 0.",
        labels=(SOURCE,),
        worry="1: the source is dead, and no abandonments leave. `LIFECYCLE_ORDERS_IDLE_TIMEOUT` and "
        "`LIFECYCLE_CLICKSTREAM_IDLE_TIMEOUT` say after how long.",
    ),
    Metric(
        name="lifecycle_clock_skew_seconds",
        kind="gauge",
        help="The worker's clock less the broker's, from append times.",
        unit="seconds",
        worry="Beyond 5 s either way; beyond 30 s no deadline fires and `/readyz` fails. Repair NTP.",
    ),
    # -- state
    Metric(
        name="lifecycle_customers",
        kind="gauge",
        help="Customers now in each stage of the lifecycle track, of the partitions of this worker.",
        labels=(Label("stage", "the stage's name"),),
        worry="The sum over all workers drops outside of a rebalance.",
    ),
    Metric(
        name="lifecycle_track_customers",
        kind="gauge",
        help="Customers now in each stage of the playbook's further tracks, of the partitions of this worker.",
        labels=(Label("track", "the track's name"), Label("stage", "the stage's name")),
        worry="The sum of a track over all workers is not that of `lifecycle_customers`.",
    ),
    Metric(
        name="lifecycle_timers_pending",
        kind="gauge",
        help="Customers with a deadline to come.",
        labels=(PARTITION,),
        worry="One partition far above the others: keys are skewed.",
    ),
    Metric(
        name="lifecycle_aliases",
        kind="gauge",
        help="Devices, carts and checkouts of which it is known whose they are. A device is forgotten 400 days after "
        "it was last seen, a cart or a checkout after 30.",
        labels=(PARTITION,),
        worry="It grows faster than customers come: a client makes up a new `anonymous_id` for each visit.",
    ),
    Metric(
        name="lifecycle_largest_profile_bytes",
        kind="gauge",
        help="The largest packed profile seen.",
        labels=(PARTITION,),
        unit="bytes",
        worry="Near 65536, the bound: one id is shared by many people, or is a robot. "
        "`lifecycle_trimmed_total` then moves.",
    ),
    Metric(
        name="lifecycle_trimmed_total",
        kind="counter",
        help="What was cut at a bound: the oldest of a profile, or the end of a long string.",
        labels=(Label("what", "the bound", TRIMMED),),
        worry="A steady rate of anything but `strings` or `viewed_products`: one id is shared by many people, or is a "
        "robot.",
    ),
    # -- erasure
    Metric(
        name="lifecycle_erasures_total",
        kind="counter",
        help="Requests to erase somebody that were carried out, or had been before. Counted where the person lives.",
        labels=(Label("outcome", "what became of it", COUNTER_LABELS["erasures"]),),
        worry="`repeated` without a restart: the offsets of the topic of requests were set back, or have expired.",
    ),
    Metric(
        name="lifecycle_erasures_waiting",
        kind="gauge",
        help="Requests to erase somebody that the partition has not carried out.",
        labels=(PARTITION,),
        worry="More than 0 for minutes. After seven days requests are deleted, and workers end rather than skip them.",
    ),
    Metric(
        name="lifecycle_erasure_residue",
        kind="gauge",
        help="Erased customers of whom timers in memory, or files on disk, may hold something yet.",
        labels=(PARTITION,),
        worry="No decrease for an hour and a half: files are rewritten once an hour at most, and it may take minutes.",
    ),
    # -- Kafka
    Metric(
        name="lifecycle_consumer_lag_records",
        kind="gauge",
        help="Records between the consumer's position and the end of the partition.",
        labels=(TOPIC, PARTITION),
        unit="records",
        worry="It grows for 5 min: add a worker, or look at `lifecycle_chunk_seconds`.",
    ),
    Metric(
        name="lifecycle_buffered_bytes",
        kind="gauge",
        help="Records read that wait for another source to come as far; of a topic that is read independently, those "
        "forwarded ahead of the slowest source.",
        labels=(PARTITION, SOURCE),
        unit="bytes",
        worry="Near `LIFECYCLE_MAX_BUFFER_BYTES` for long: the other source holds time back.",
    ),
    Metric(
        name="lifecycle_partitions_assigned",
        kind="gauge",
        help="Partitions this worker processes: assigned to it and recovered.",
        worry="The sum over all workers is below `LIFECYCLE_PARTITIONS` for longer than a rebalance takes; one worker "
        "stays at 0 while others have several.",
    ),
    Metric(
        name="lifecycle_repartition_tasks_assigned",
        kind="gauge",
        help="Partitions that this worker reads independently and forwards: of topics with another number of them.",
        worry="The sum over all workers is below the partitions of those topics for longer than a rebalance takes: "
        "what is on the others is not read, and holds the time of all.",
    ),
    Metric(
        name="lifecycle_recovery_records_remaining",
        kind="gauge",
        help="Changelog records still to be read before the partition is worked on.",
        labels=(PARTITION,),
        worry="It stands still above 0 for a minute.",
    ),
    Metric(
        name="lifecycle_recovery_remaining_seconds",
        kind="gauge",
        help="How long recovery will take yet, at the rate of the last 10 s; 0 without one, absent if it stands still.",
        unit="seconds",
        worry="It grows, or is absent for a minute.",
    ),
    Metric(
        name="lifecycle_recovery_records_total",
        kind="counter",
        help="Changelog records read: by recovery, and to keep standby copies.",
        worry="After a restart of a worker whose state is on disk it grows by all there are: its files were not used.",
    ),
    Metric(
        name="lifecycle_recovery_restarts_total",
        kind="counter",
        help="How often recovery stood still although the broker answers, so that reading was started again.",
        worry="More than 0: look at the log. After three times in a row the worker ends.",
    ),
    Metric(
        name="lifecycle_commit_seconds",
        kind="histogram",
        help="Duration of a commit: outputs, changelog and offsets, acknowledged.",
        unit="seconds",
        buckets=SLOW,
        worry="The 99th percentile above `LIFECYCLE_COMMIT_INTERVAL`: the broker is slow, or too much is dirty.",
    ),
    Metric(
        name="lifecycle_last_commit_timestamp_seconds",
        kind="gauge",
        help="When the worker last had nothing left to commit: after a commit, or because nothing had happened. Absent "
        "while it has no partitions; it begins with the time when it got them.",
        unit="seconds",
        worry="Older than some `LIFECYCLE_COMMIT_INTERVAL`, and than the two minutes for which a broker is waited for: "
        "a commit hangs. Outputs of deadlines wait, with exactly-once all outputs.",
    ),
    Metric(
        name="lifecycle_transactions_total",
        kind="counter",
        help="Transactions of `exactly_once`, one for each partition with something to commit, by how they ended.",
        labels=(Label("outcome", "how it ended", ("committed", "fenced", "failed")),),
        worry="Any `fenced`: a worker was out of touch and others took its partitions, or a transaction took longer "
        "than `LIFECYCLE_TRANSACTION_TIMEOUT`. Any `failed`: see the worker's last words. Either ends the worker, "
        "mostly before it is scraped: `lifecycle_failures_total` outlasts it.",
    ),
    Metric(
        name="lifecycle_transaction_seconds",
        kind="histogram",
        help="Duration of a transaction that was committed, from its beginning to the answer of its coordinator.",
        unit="seconds",
        buckets=SLOW,
        worry="The 99th percentile near `LIFECYCLE_COMMIT_INTERVAL`: outputs are seen late. Near "
        "`LIFECYCLE_TRANSACTION_TIMEOUT` workers end.",
    ),
    # -- the process
    Metric(
        name="lifecycle_chunk_seconds",
        kind="histogram",
        help="Processing of one chunk of records, from bytes to outputs handed over.",
        labels=(SOURCE,),
        unit="seconds",
        buckets=FAST,
        worry="The 99th percentile above 0.1 s: chunks are too large, or the processor is taken by something else.",
    ),
    Metric(
        name="lifecycle_chunk_records",
        kind="histogram",
        help="Records in one chunk.",
        labels=(SOURCE,),
        unit="records",
        buckets=(1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000),
        worry="A median near 1 at a high rate: work is paid per record. Look at the fetch settings.",
    ),
    Metric(
        name="lifecycle_event_loop_lag_seconds",
        kind="gauge",
        help="The longest that the event loop was held up in the last minute, until now.",
        unit="seconds",
        worry="Above 1 s; above 10 s the group may throw the worker out; at 60 s `/healthz` fails.",
    ),
    Metric(
        name="lifecycle_ready",
        kind="gauge",
        help="1 where /readyz answers 200, else 0.",
        worry="0 for longer than a recovery takes; `/readyz` says why.",
    ),
    Metric(
        name="lifecycle_playbook_disagreements",
        kind="gauge",
        help="Partitions of the group whose last commit was made under another playbook than this worker's.",
        worry="More than 0 for longer than a roll-out takes: the workers of the group have different playbooks.",
    ),
    Metric(
        name="lifecycle_failures_total",
        kind="counter",
        help="How often workers that had this data directory before ended by themselves, or were ended because "
        "shutting down took too long. Kept in the directory: it goes on over restarts.",
        labels=(FAILURE,),
        worry="More than one in an hour of what LifecycleCommitFailures asks for: a broker that does not take commits, "
        "or workers that stand still. Any other: see the worker's last words.",
    ),
    Metric(
        name="lifecycle_last_failure_timestamp_seconds",
        kind="gauge",
        help="When the worker that had this data directory before ended by itself, if it did, and why.",
        labels=(FAILURE,),
        unit="seconds",
        worry="Recent, with a reason that LifecycleTopicFault asks for: topics or settings are not what the state "
        "says, or there is a defect, and each worker that starts ends again until somebody has done what its last "
        "words say.",
    ),
    Metric(
        name="lifecycle_build_info",
        kind="gauge",
        help="Always 1; the label tells the version.",
        labels=(Label("version", "of the distribution lifecycle-streams"),),
        worry="Several versions for longer than a roll-out takes.",
    ),
)
