"""Table of all metrics of a worker: name, labels, unit, meaning, and when to worry.

`streams.observe.prometheus` builds its collectors from this table, and `docs/metrics.md` is generated from it. Names
are written as in a scrape. Times are in seconds, sizes in bytes. Label values come from the code, the playbook and the
settings, never from customers. So the number of series is bounded, and a scrape holds no personal data.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from streams.core.model.counters import COUNTER_LABELS, OUTPUT_TYPES, STREAM_LABELS, WITHHELD_REASONS
from streams.core.model.event import Source

KindOfMetric = Literal["counter", "gauge", "histogram"]
OTHER: Final = "other"
"""Shown in place of a label value outside its closed set. That is a defect here, but no reason to stop a worker."""


class Label(msgspec.Struct, frozen=True):
    """A label. `values` is its closed set, whose series start at 0; None if the set is open, as `meaning` explains."""

    name: str
    meaning: str
    values: tuple[str, ...] | None = None


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """One metric. `unit` is the base unit in its name, "" for a plain number. `buckets` are upper bounds."""

    name: str
    kind: KindOfMetric
    help: str
    worry: str
    labels: tuple[Label, ...] = ()
    unit: Literal["", "seconds", "bytes", "records"] = ""
    buckets: tuple[float, ...] = ()


SOURCE = Label("source", "the source", tuple(source.name.lower() for source in Source))
BLOCKERS = Label("source", "the source, or the stream of internal messages", (*(SOURCE.values or ()), *STREAM_LABELS))
"""Inputs that can block a watermark. Streams: `carts` send devices their links, `devices` send customers their events
and profiles."""
TOPIC = Label("topic", "a topic's name, from the settings")
PARTITION = Label("partition", "a partition's number; a task owns it in every source topic that it reads")
KIND = Label("kind", "of the abandonment", ("browse", "cart", "checkout"))

DEAD_LETTER_REASONS = (
    "null_value", "too_large", "not_utf8", "too_deep", "not_json", "not_object", "invalid_identity",
    "missing_time", "invalid_time", "clock_skew", "invalid_money", "unknown_currency", "invalid_field",
    "wrong_partition", "corrupt_batch",
)  # fmt: skip
"""A test compares these with `streams.contracts`: neither package imports the other."""

LINES_IGNORED = ("not_object", "negative_price", "no_quantity")
FIELDS_IGNORED = ("price", "quantity", "currency", "items", "category", "channel", "coupon")
"""Also compared with `streams.contracts`."""

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
"""A test compares these with `streams.errors.Fault`."""
FAILURE = Label("reason", "see the runbook; `other` stands for a reason without a name", FAILURES)

TRIMMED = (*COUNTER_LABELS["trimmed"], "strings")
"""Parts of a profile or an alias that the core bounds, and strings that the decoders cut."""

FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
SLOW = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

CATALOGUE: Final[tuple[Metric, ...]] = (
    # -- input
    Metric(
        name="lifecycle_events_total",
        kind="counter",
        help="Input records by outcome: applied, a duplicate, applied before a restart (`replayed`), of a customer "
        "erased since, or rejected.",
        labels=(
            SOURCE,
            Label("outcome", "the result for the record", ("applied", "duplicate", "replayed", "erased", "rejected")),
        ),
        worry="`applied` of a source stands still while its topic grows; `rejected` is more than a few in a thousand; "
        "`duplicate` jumps (a producer retries, or a source is delivered twice); `replayed` grows without a restart.",
    ),
    Metric(
        name="lifecycle_events_late_total",
        kind="counter",
        help="Events older than the watermark when they were applied.",
        labels=(SOURCE,),
        worry="More than a few in a hundred of `lifecycle_events_total`: abandonments are sent and retracted. Raise "
        "the source's delay (`LIFECYCLE_CLICKSTREAM_DELAY`, `LIFECYCLE_ORDERS_DELAY`), or `LIFECYCLE_LATENESS`.",
    ),
    Metric(
        name="lifecycle_events_out_of_order_total",
        kind="counter",
        help="Events older than the newest event of their customer.",
        labels=(SOURCE,),
        worry="A jump after a release of a client: its clocks, or the order in which it sends, have changed.",
    ),
    Metric(
        name="lifecycle_corrections_ignored_total",
        kind="counter",
        help="Refunds, updates and cancellations that were ignored because their currency is not the order's.",
        labels=(Label("reason", "the kind of correction", COUNTER_LABELS["corrections_ignored"]),),
        worry="Any steady rate: revenue is too high by the ignored refunds. Ask the team that sends the orders.",
    ),
    Metric(
        name="lifecycle_orders_conflicting_total",
        kind="counter",
        help="Repeated completions of an order that were ignored although they have another total or other items.",
        labels=(Label("difference", "what differs first", COUNTER_LABELS["orders_conflicting"]),),
        worry="Any steady rate: several stores number their orders alike, and sales are lost. Let every event of an "
        "order name its `store`.",
    ),
    Metric(
        name="lifecycle_identifiers_rejected_total",
        kind="counter",
        help="Identifiers treated as absent: placeholders such as null or 0, and identifiers longer than 256 bytes.",
        labels=(SOURCE,),
        worry="A jump: a client sends a placeholder where the customer's id belongs.",
    ),
    Metric(
        name="lifecycle_lines_ignored_total",
        kind="counter",
        help="Lines of `items` that were left out, by the reason: no object, a negative price (a coupon that the shop "
        "writes as a line), a quantity of 0 or less.",
        labels=(SOURCE, Label("reason", "why the line was left out", LINES_IGNORED)),
        worry="A jump: the shop writes its lines in another way than before, and carts and orders lack products.",
    ),
    Metric(
        name="lifecycle_fields_ignored_total",
        kind="counter",
        help="Fields that cannot be read and count as absent; a quantity counts as 1.",
        labels=(SOURCE, Label("field", "the field", FIELDS_IGNORED)),
        worry="Any steady rate of `price`, `quantity` or `items`: values of carts are missing or wrong. Ask the team "
        "that sends them.",
    ),
    Metric(
        name="lifecycle_dead_letters_total",
        kind="counter",
        help="Dead letters, by the topic they came from and the reason.",
        labels=(TOPIC, Label("reason", "the reason in the record's headers", DEAD_LETTER_REASONS)),
        worry="Any steady rate: read the dead-letter topic. It holds each record with the reason for its rejection. "
        "`clock_skew` means a clock that runs ahead.",
    ),
    Metric(
        name="lifecycle_wrong_partition_total",
        kind="counter",
        help="Records on a partition that is not their customer's.",
        labels=(TOPIC,),
        worry="More than 0: the producer does not key by customer id, or its partitioner is not "
        "`LIFECYCLE_PARTITIONER`, or the topic got more partitions.",
    ),
    # -- outputs
    Metric(
        name="lifecycle_stage_changes_total",
        kind="counter",
        help="Stage changes sent. A stage is `none` where a profile begins or ends.",
        labels=(
            Label("track", "the track's name"),
            Label("from_stage", "the stage left, or `none`"),
            Label("to_stage", "the stage entered, or `none`"),
            Label(
                "cause",
                "the reason of the change",
                ("activity", "inactivity", "merge", "forgotten", "playbook", "erased"),
            ),
        ),
        worry="0 while events are applied; a wave into `at_risk`, `lapsed` or `dormant` (a source is missing).",
    ),
    Metric(
        name="lifecycle_abandonments_total",
        kind="counter",
        help="Abandonments sent, each step counted.",
        labels=(KIND, Label("step", "1, 2, …")),
        worry="A jump of step 1 against `lifecycle_events_total`: orders may not be coming in. Look at "
        "`lifecycle_source_progress_lag_seconds` of `orders`, and consider "
        "`LIFECYCLE_ORDERS_IDLE_TIMEOUT`.",
    ),
    Metric(
        name="lifecycle_recoveries_total",
        kind="counter",
        help="Abandonments recovered by an order, by the strongest match between the two.",
        labels=(KIND, Label("match", "the strongest match", ("cart", "checkout", "items", "customer"))),
        worry="`customer` grows at the cost of `cart`: orders no longer carry `cart_id` or `checkout_id`.",
    ),
    Metric(
        name="lifecycle_retractions_total",
        kind="counter",
        help="Abandonments retracted, by reason.",
        labels=(KIND, Label("reason", "the reason of the retraction", ("late_order", "late_activity", "merge"))),
        worry='More than a few in a hundred of `lifecycle_abandonments_total{step="1"}`: a source delivers later '
        "than its delay allows (`LIFECYCLE_ORDERS_DELAY`, `LIFECYCLE_CLICKSTREAM_DELAY`).",
    ),
    Metric(
        name="lifecycle_expirations_total",
        kind="counter",
        help="Abandonments that expired without a recovery.",
        labels=(KIND,),
        worry="A question for the business: compare them with the recoveries.",
    ),
    Metric(
        name="lifecycle_triggers_total",
        kind="counter",
        help="Triggers sent, each step counted, also for customers of the holdout.",
        labels=(
            Label("trigger", "its name in the playbook"),
            Label("step", "from 1"),
            Label("held_out", "`true` if the customer is in the holdout", ("true", "false")),
        ),
        worry="A trigger that used to fire stays at 0: an event that it needs no longer comes.",
    ),
    Metric(
        name="lifecycle_identity_changes_total",
        kind="counter",
        help="Identity changes sent: a device was linked to a customer, switched to another customer or refused to "
        "one, or a customer or device was erased.",
        labels=(Label("type", "the output's type", IDENTITY_TYPES),),
        worry="`switched` grows at the cost of `linked`: devices are shared, or a client keeps the `anonymous_id` "
        "after a customer signs out.",
    ),
    Metric(
        name="lifecycle_outputs_withheld_total",
        kind="counter",
        help="Outputs computed but not sent, by reason. State still advances.",
        labels=(
            Label("type", "the output's type", OUTPUT_TYPES),
            Label(
                "reason",
                "the reason for withholding it",
                WITHHELD_REASONS,
            ),
        ),
        worry="`delayed`: the worker was down or behind for longer than `LIFECYCLE_MAX_EMIT_DELAY`. `source_silent`: "
        "a source is dead. `before_emit_after` is normal while history is read.",
    ),
    Metric(
        name="lifecycle_output_latency_seconds",
        kind="histogram",
        help="Time from an input record's Kafka timestamp to the acknowledgement of the output it caused.",
        labels=(TOPIC,),
        unit="seconds",
        buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0),
        worry="The 99th percentile above 1 s while `lifecycle_consumer_lag_records` is near 0 (with exactly-once: "
        "above two of `LIFECYCLE_COMMIT_INTERVAL`).",
    ),
    Metric(
        name="lifecycle_deadline_delay_seconds",
        kind="histogram",
        help="Time from a deadline to its firing by the wall clock, of deadlines fired live.",
        unit="seconds",
        buckets=(5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 120.0, 300.0, 900.0, 3600.0, 21600.0),
        worry="The median above a minute. About 15 s is normal: the delay of the sources plus "
        "`LIFECYCLE_LATENESS`, and a commit.",
    ),
    # -- repartitioning and identity
    Metric(
        name="lifecycle_repartition_sent_records_total",
        kind="counter",
        help="Records that were not on their customer's partition and were forwarded to it.",
        labels=(SOURCE,),
        worry="It covers most of a source: its producers do not key by customer id, and each record is read twice.",
    ),
    Metric(
        name="lifecycle_repartition_sent_parts_total",
        kind="counter",
        help="Parts of records about ids of other partitions (the owner of a device or a cart), sent to those "
        "partitions.",
        labels=(SOURCE,),
        worry="0 with `LIFECYCLE_IDENTITY_RESOLUTION=on` and several partitions: no event has both ids, so no device "
        "is linked to a customer.",
    ),
    Metric(
        name="lifecycle_internal_messages_total",
        kind="counter",
        help="Internal messages created for the partition of a device or a customer: links of devices that a cart or "
        "checkout showed (`carts`); events of owned devices, and profiles to merge (`devices`).",
        labels=(Label("stream", "the resolution stage that created them", COUNTER_LABELS["internal_messages"]),),
        worry="It stands still while events with only an anonymous id are applied: no device is linked any more.",
    ),
    Metric(
        name="lifecycle_identity_resolution_total",
        kind="counter",
        help="Results of identity resolution: devices linked to a customer (`linked`), switched to another customer "
        "(`switched`), or kept by their owner although another customer ordered their cart (`refused`); late sign-ins "
        "of an earlier owner, which cause no output (`earlier`); profiles `merged`.",
        labels=(Label("outcome", "the result", COUNTER_LABELS["identity_resolution"]),),
        worry="`switched` grows at the cost of `linked`: devices are shared, or a client keeps the `anonymous_id` "
        "after a customer signs out. `refused` grows: one `cart_id` or `checkout_id` is used for many carts.",
    ),
    Metric(
        name="lifecycle_shared_customer_ids_total",
        kind="counter",
        help="Customer ids that got more than `LIFECYCLE_SHARED_ID_DEVICES` devices, each counted once while a worker "
        "owns the partition.",
        labels=(),
        worry="More than 0: an id that stands for nobody merges strangers. The log names a record with it; add the id "
        "to `LIFECYCLE_ID_PLACEHOLDERS`.",
    ),
    Metric(
        name="lifecycle_repartition_received_records_total",
        kind="counter",
        help="Records received on the repartition topic: accepted (`taken`), or ignored as forwarded again after a "
        "restart or out of sequence (`repeated`).",
        labels=(Label("outcome", "the result for the record", COUNTER_LABELS["repartition_received"]),),
        worry="`repeated` grows without a restart or a rebalance.",
    ),
    Metric(
        name="lifecycle_repartition_buffered_bytes",
        kind="gauge",
        help="Repartitioned records and internal messages that wait until every source has progressed as far.",
        labels=(PARTITION,),
        unit="bytes",
        worry="It grows outside of a catch-up: `lifecycle_watermark_blocked_by_partition` names the partition to look "
        "at.",
    ),
    # -- time
    Metric(
        name="lifecycle_watermark_lag_seconds",
        kind="gauge",
        help="Time by which the task's watermark is behind the wall clock.",
        labels=(PARTITION,),
        unit="seconds",
        worry="Above 60 s for 5 min outside of a catch-up: deadlines fire late. `lifecycle_watermark_blocked_by` names "
        "the source.",
    ),
    Metric(
        name="lifecycle_watermark_blocked_by",
        kind="gauge",
        help="1 for the source with the least progress, which blocks the watermark, else 0. With identity resolution "
        "it may be a stream of internal messages.",
        labels=(PARTITION, BLOCKERS),
        worry="Only together with a watermark lag: it names the source to look at.",
    ),
    Metric(
        name="lifecycle_watermark_blocked_by_partition",
        kind="gauge",
        help="Number of the partition with the source that blocks the watermark: this one or an upstream partition.",
        labels=(PARTITION,),
        worry="Only together with a watermark lag. If it names another partition, that partition's worker is away or "
        "behind.",
    ),
    Metric(
        name="lifecycle_source_progress_lag_seconds",
        kind="gauge",
        help="Time by which the source's progress is behind the wall clock.",
        labels=(PARTITION, SOURCE),
        unit="seconds",
        worry="One source far above the other: it is behind, its leader is away, or its events come late.",
    ),
    Metric(
        name="lifecycle_source_caught_up",
        kind="gauge",
        help="1 while the source is caught up, else 0.",
        labels=(PARTITION, SOURCE),
        worry="0 for minutes while `lifecycle_consumer_lag_records` is 0: fetches do not succeed.",
    ),
    Metric(
        name="lifecycle_source_backfilling",
        kind="gauge",
        help="1 while the source is being backfilled, so that being caught up proves nothing yet, else 0.",
        labels=(PARTITION, SOURCE),
        worry="1 without a backfill: a producer sends events an hour old or more, which blocks the watermark.",
    ),
    Metric(
        name="lifecycle_source_silent",
        kind="gauge",
        help="1 while abandonments wait because the source's whole topic was silent for its idle timeout, else 0.",
        labels=(SOURCE,),
        worry="1: the source is dead, and no abandonments are sent. `LIFECYCLE_ORDERS_IDLE_TIMEOUT` and "
        "`LIFECYCLE_CLICKSTREAM_IDLE_TIMEOUT` are the idle timeouts.",
    ),
    Metric(
        name="lifecycle_clock_skew_seconds",
        kind="gauge",
        help="The worker's clock less the broker's, from append times.",
        unit="seconds",
        worry="More than 5 s either way; beyond 30 s no deadline fires and `/readyz` fails. Repair NTP.",
    ),
    # -- state
    Metric(
        name="lifecycle_customers",
        kind="gauge",
        help="Customers in each stage of the lifecycle track, of the partitions of this worker.",
        labels=(Label("stage", "the stage's name"),),
        worry="The sum over all workers drops outside of a rebalance.",
    ),
    Metric(
        name="lifecycle_track_customers",
        kind="gauge",
        help="Customers in each stage of the playbook's other tracks, of the partitions of this worker.",
        labels=(Label("track", "the track's name"), Label("stage", "the stage's name")),
        worry="The sum of a track over all workers differs from that of `lifecycle_customers`.",
    ),
    Metric(
        name="lifecycle_timers_pending",
        kind="gauge",
        help="Customers with a pending deadline.",
        labels=(PARTITION,),
        worry="One partition far above the others: keys are skewed.",
    ),
    Metric(
        name="lifecycle_aliases",
        kind="gauge",
        help="Aliases: records of devices, carts and checkouts. A device's is dropped "
        "`LIFECYCLE_DEVICE_EXPIRY` after it was last seen, a cart's or checkout's `LIFECYCLE_CART_ID_EXPIRY`.",
        labels=(PARTITION,),
        worry="It grows faster than the number of customers: a client creates a new `anonymous_id` for each visit.",
    ),
    Metric(
        name="lifecycle_largest_profile_bytes",
        kind="gauge",
        help="Size of the largest encoded profile so far.",
        labels=(PARTITION,),
        unit="bytes",
        worry="Near 65536, the bound: one id is shared by many people, or belongs to a robot. "
        "`lifecycle_trimmed_total` then grows.",
    ),
    Metric(
        name="lifecycle_trimmed_total",
        kind="counter",
        help="Entries removed at a bound: the oldest entries of a profile part, or the end of a long string.",
        labels=(Label("what", "the bound", TRIMMED),),
        worry="A steady rate of anything but `strings` or `viewed_products`: one id is shared by many people, or "
        "belongs to a robot.",
    ),
    # -- erasure
    Metric(
        name="lifecycle_erasures_total",
        kind="counter",
        help="Erasure requests carried out now (`applied`) or before (`repeated`), counted by the task that has the "
        "id.",
        labels=(Label("outcome", "the result for the request", COUNTER_LABELS["erasures"]),),
        worry="`repeated` grows without a restart: the offsets of the erasure topic were reset, or have expired.",
    ),
    Metric(
        name="lifecycle_erasures_waiting",
        kind="gauge",
        help="Erasure requests that the partition has not carried out yet.",
        labels=(PARTITION,),
        worry="More than 0 for minutes. Kafka deletes requests after seven days, and workers end rather than skip one.",
    ),
    Metric(
        name="lifecycle_erasure_residue",
        kind="gauge",
        help="Erased customers of whom timers in memory, or files on disk, may still hold traces.",
        labels=(PARTITION,),
        worry="No decrease for an hour and a half: files are rewritten at most once an hour, which may take minutes.",
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
        help="Records read that wait until the other source has progressed as far; of a topic with repartition tasks, "
        "those forwarded ahead of the slowest source.",
        labels=(PARTITION, SOURCE),
        unit="bytes",
        worry="Near `LIFECYCLE_MAX_BUFFER_BYTES` for long: the other source blocks the watermark.",
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
        help="Repartition tasks of this worker: partitions of topics with another number of partitions than there are "
        "tasks, which it reads and forwards.",
        worry="The sum over all workers is below the partitions of those topics for longer than a rebalance takes: "
        "some partitions are not read, which blocks the watermark of all tasks.",
    ),
    Metric(
        name="lifecycle_recovery_records_remaining",
        kind="gauge",
        help="Changelog records still to be read before the partition is processed.",
        labels=(PARTITION,),
        worry="It stands still above 0 for a minute.",
    ),
    Metric(
        name="lifecycle_recovery_remaining_seconds",
        kind="gauge",
        help="Time that recovery still takes, at the rate of the last 10 s; 0 if none runs, absent if it stands still.",
        unit="seconds",
        worry="It grows, or is absent for a minute.",
    ),
    Metric(
        name="lifecycle_recovery_records_total",
        kind="counter",
        help="Changelog records read by recovery and by standbys.",
        worry="After a restart of a worker with its state on disk it grows by all records: its files were not used.",
    ),
    Metric(
        name="lifecycle_recovery_restarts_total",
        kind="counter",
        help="Times that reading was restarted because recovery stood still although the broker answers.",
        worry="More than 0: look at the log. After three restarts in a row the worker ends.",
    ),
    Metric(
        name="lifecycle_commit_seconds",
        kind="histogram",
        help="Duration of a commit: outputs, changelog and offsets, acknowledged.",
        unit="seconds",
        buckets=SLOW,
        worry="The 99th percentile above `LIFECYCLE_COMMIT_INTERVAL`: the broker is slow, or too much has changed.",
    ),
    Metric(
        name="lifecycle_last_commit_timestamp_seconds",
        kind="gauge",
        help="Time when the worker last had nothing left to commit, after a commit or because nothing had changed. "
        "It starts with the assignment of partitions and is absent without any.",
        unit="seconds",
        worry="Older than several `LIFECYCLE_COMMIT_INTERVAL`, and than the two minutes for which a worker waits for a "
        "broker: a commit hangs. Outputs of deadlines wait, with exactly-once all outputs.",
    ),
    Metric(
        name="lifecycle_transactions_total",
        kind="counter",
        help="Transactions of `exactly_once`, one for each partition with something to commit, by outcome.",
        labels=(Label("outcome", "the result of the transaction", ("committed", "fenced", "failed")),),
        worry="Any `fenced`: a worker lost contact and its partitions were assigned to others, or a transaction took "
        "longer than `LIFECYCLE_TRANSACTION_TIMEOUT`. Any `failed`: see the worker's last log lines. Either ends the "
        "worker, mostly before a scrape shows it: `lifecycle_failures_total` survives the worker.",
    ),
    Metric(
        name="lifecycle_transaction_seconds",
        kind="histogram",
        help="Duration of a committed transaction, from its beginning to the answer of its coordinator.",
        unit="seconds",
        buckets=SLOW,
        worry="The 99th percentile near `LIFECYCLE_COMMIT_INTERVAL`: subscribers get outputs late. Near "
        "`LIFECYCLE_TRANSACTION_TIMEOUT` workers end.",
    ),
    # -- the process
    Metric(
        name="lifecycle_chunk_seconds",
        kind="histogram",
        help="Duration of processing one chunk of records, from bytes to outputs given to the producer.",
        labels=(SOURCE,),
        unit="seconds",
        buckets=FAST,
        worry="The 99th percentile above 0.1 s: chunks are too large, or something else uses the processor.",
    ),
    Metric(
        name="lifecycle_chunk_records",
        kind="histogram",
        help="Records in one chunk.",
        labels=(SOURCE,),
        unit="records",
        buckets=(1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000),
        worry="A median near 1 at a high rate: each record costs as much as a chunk.",
    ),
    Metric(
        name="lifecycle_event_loop_lag_seconds",
        kind="gauge",
        help="The longest delay of the event loop in the last minute, including one that still lasts.",
        unit="seconds",
        worry="Above 1 s; above 10 s the group may remove the worker; at 60 s `/healthz` fails.",
    ),
    Metric(
        name="lifecycle_ready",
        kind="gauge",
        help="1 while /readyz answers 200, else 0.",
        worry="0 for longer than a recovery takes; `/readyz` gives the reason.",
    ),
    Metric(
        name="lifecycle_playbook_disagreements",
        kind="gauge",
        help="Partitions of the group with a last commit under another playbook than this worker's.",
        worry="More than 0 for longer than a roll-out takes: the workers of the group have different playbooks.",
    ),
    Metric(
        name="lifecycle_failures_total",
        kind="counter",
        help="Failures of workers that used this data directory before: they ended by themselves, or were ended "
        "because their shutdown took too long. The count is kept in the directory and survives restarts.",
        labels=(FAILURE,),
        worry="More than one in an hour of a reason that the alert LifecycleCommitFailures selects: a broker does not "
        "accept commits, or workers stand still. Any other reason: see the worker's last log lines.",
    ),
    Metric(
        name="lifecycle_last_failure_timestamp_seconds",
        kind="gauge",
        help="Time and reason of the failure of the worker that used this data directory before, if it ended by "
        "itself.",
        labels=(FAILURE,),
        unit="seconds",
        worry="Recent, with a reason that the alert LifecycleTopicFault selects: topics or settings do not fit the "
        "state, or there is a defect. Each worker that starts ends again until an operator has done what its last log "
        "lines ask for.",
    ),
    Metric(
        name="lifecycle_playbook_info",
        kind="gauge",
        help="Always 1; the labels are the playbook that the worker runs.",
        labels=(
            Label("name", "the name of the playbook"),
            Label("version", "its version"),
            Label("digest", "a digest of its text, as in the log, in commits, and in the header `ce_playbook`"),
        ),
        worry="Several playbooks for longer than a roll-out takes.",
    ),
    Metric(
        name="lifecycle_build_info",
        kind="gauge",
        help="Always 1; the label is the version.",
        labels=(Label("version", "the version of the distribution lifecycle-streams"),),
        worry="Several versions for longer than a roll-out takes.",
    ),
)
