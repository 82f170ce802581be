"""The table of settings: reading, checking, `lifecycle settings` and docs/settings.md are derived from it.

Each field of `Settings` is one setting: its name, default, kind, an example and its help. `lateness` is set by the
environment variable LIFECYCLE_LATENESS, or by the key `lateness` of the TOML file that LIFECYCLE_CONFIG names; the
environment takes precedence. In the code, durations are milliseconds, sizes bytes, times epoch milliseconds, and `off`
is None or False.
"""

from __future__ import annotations

import dataclasses
import uuid
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from streams import playbooks, values
from streams.contracts.identity import PLACEHOLDERS
from streams.core.event_time.inputs import ERASURES, REPARTITION
from streams.core.model import ids
from streams.core.model.event import Source
from streams.core.model.policy import DAY, HOUR, MINUTE, SECOND

T = TypeVar("T")

PREFIX = "LIFECYCLE_"
CONFIG = PREFIX + "CONFIG"


class About(NamedTuple):
    """Description of a setting, besides its name and default."""

    kind: values.Kind[Any]
    example: str
    help: str


def _setting(default: T, kind: values.Kind[T], example: str, help: str) -> T:
    secret: Any = values.SECRET
    field: Any = dataclasses.field(
        default=default, repr=kind is not secret, metadata={"about": About(kind, example, help)}
    )
    return field  # type: ignore[no-any-return]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings of a worker, and values derived from them.

    Made by `streams.settings.load`. Tests and the demo make variants with `dataclasses.replace`, which checks nothing.
    """

    # Kafka
    broker: str = _setting(
        "127.0.0.1:9092",
        values.BROKERS,
        "kafka-1:9092,kafka-2:9092",
        "Brokers to connect to first, separated by commas. A prefix `kafka://` is accepted.",
    )
    broker_wait: int | None = _setting(
        30 * SECOND,
        values.optional_duration(),
        "2m",
        "How long a command waits at its start for a broker that does not answer; it retries meanwhile. `off` waits "
        "without a limit. A worker that has started always waits.",
    )
    app_id: str = _setting(
        "lifecycle",
        values.APPLICATION,
        "lifecycle-eu",
        "Consumer group, and prefix of the names of the topics that hold its state. Another id is another "
        "application, which starts without state.",
    )
    partitions: int = _setting(
        4,
        values.integer(1, 10_000),
        "12",
        "Number of tasks that share the work, each with its part of the state, and the number of partitions that "
        "each input topic should have. It limits how many workers can share the work. It cannot be changed once "
        "there is state.",
    )
    replication: int = _setting(
        1,
        values.integer(1, 100),
        "3",
        "Replication factor of each topic that this program creates. Use 3 in production; a record then counts as "
        "written when two replicas have it.",
    )
    partitioner: str = _setting(
        "murmur2",
        values.word("murmur2", "crc32"),
        "crc32",
        "How the producers of the input topics choose the partition of a key: `murmur2` as Java clients do, `crc32` "
        "as librdkafka does by default.",
    )
    processing_guarantee: str = _setting(
        "at_least_once",
        values.word("at_least_once", "exactly_once"),
        "exactly_once",
        "State is exact after a crash with both values. `at_least_once`: an output may be sent again, with the same "
        "id. `exactly_once`: outputs, state and offsets of a commit are one Kafka transaction; a subscriber that "
        "reads with `isolation.level=read_committed` sees each output once, when it is committed. All workers need "
        "the same value.",
    )
    transaction_timeout: int = _setting(
        15 * SECOND,
        values.duration(at_least=SECOND),
        "30s",
        "With `exactly_once`: the longest time that a commit may take, failover of brokers included. If a worker "
        "dies within a commit and no other worker takes over, subscribers that read committed records wait that long.",
    )
    commit_interval: int = _setting(
        SECOND,
        values.duration(at_least=50),
        "250ms",
        "How often state and offsets are committed. Commits come sooner in a backlog in which partitions wait for "
        "each other's commits. Outputs of deadlines are sent with the commit.",
    )
    session_timeout: int = _setting(
        10 * SECOND,
        values.duration(at_least=SECOND),
        "45s",
        "After this time without a heartbeat, the group considers a worker dead and gives its partitions to the "
        "others. The broker sets the lower bound (`group.min.session.timeout.ms`).",
    )
    heartbeat_interval: int = _setting(
        3 * SECOND,
        values.duration(at_least=100),
        "1s",
        "How often a worker sends a heartbeat to the group. At most a third of `session_timeout`.",
    )
    rebalance_timeout: int = _setting(
        30 * SECOND,
        values.duration(at_least=SECOND),
        "1m",
        "How long a worker may take to commit and to release its partitions in a rebalance.",
    )
    standby_replicas: int = _setting(
        0,
        values.integer(0, 10),
        "1",
        "Number of other workers that keep a copy of each partition's state, so that they can take over sooner.",
    )

    # Topics
    clickstream_topic: str = _setting(
        "clickstream",
        values.TOPIC,
        "shop.clickstream",
        "Input: events of visitors.",
    )
    orders_topic: str = _setting(
        "orders",
        values.TOPIC,
        "shop.orders",
        "Input: events of orders.",
    )
    clickstream_co_partitioned: bool = _setting(
        True,
        values.SWITCH,
        "off",
        "`on`: each clickstream record is keyed by its customer's id (`customer_id`, else `anonymous_id`) and lies "
        "on the partition of that key; a record on another partition becomes a dead letter (`wrong_partition`). "
        "`off`: such a record is forwarded to its partition, and time advances there only when all partitions of the "
        "topic have come as far. A topic whose number of partitions differs from `partitions` needs `off`.",
    )
    orders_co_partitioned: bool = _setting(
        True,
        values.SWITCH,
        "off",
        "Like `clickstream_co_partitioned`, for the orders topic.",
    )
    erasures_topic: str = _setting(
        "lifecycle-erasures",
        values.TOPIC,
        "crm.erasures",
        "Input: erasure requests. Each request is on every partition; `lifecycle erase` writes it there.",
    )
    stage_changes_topic: str = _setting(
        "lifecycle-stage-changes",
        values.TOPIC,
        "crm.stage-changes",
        "Output: a customer entered or left a stage.",
    )
    abandonments_topic: str = _setting(
        "lifecycle-abandonments",
        values.TOPIC,
        "crm.abandonments",
        "Output: abandonments and their outcomes.",
    )
    triggers_topic: str = _setting(
        "lifecycle-triggers",
        values.TOPIC,
        "crm.triggers",
        "Output: triggers.",
    )
    identities_topic: str = _setting(
        "lifecycle-identities",
        values.TOPIC,
        "crm.identities",
        "Output: owners of devices, and erased customers and devices.",
    )
    profiles_topic: str = _setting(
        "lifecycle-profiles",
        values.TOPIC,
        "crm.profiles",
        "Output, if `profiles` is on: the latest profile of each customer.",
    )
    dead_letters_topic: str = _setting(
        "lifecycle-dead-letters",
        values.TOPIC,
        "crm.dead-letters",
        "Output: input records that were rejected.",
    )
    profiles: bool = _setting(
        False,
        values.SWITCH,
        "on",
        "`on` publishes profiles, each at most once per commit, when it changed.",
    )

    # Identifiers
    id_case: str = _setting(
        "exact",
        values.word("exact", "fold"),
        "fold",
        "`fold`: ids of customers are read in lower case, for shops whose ids are e-mail addresses. `exact`: they are "
        "read as they are. All workers need the same value. Records that are keyed by another spelling are then on "
        "another customer's partition.",
    )
    id_placeholders: tuple[str, ...] = _setting(
        (),
        values.PLACEHOLDERS,
        "+test-user,-guest",
        "Changes of the list of values that name nobody, separated by commas: `+` adds one, `-` takes one from the "
        "list. The list: " + ", ".join(f"`{name}`" for name in sorted(PLACEHOLDERS)) + "; zeros and hyphens always. "
        "Upper and lower case do not matter. It holds for ids of customers, devices, carts and checkouts. All workers "
        "need the same value.",
    )

    shared_id_devices: int = _setting(
        1_000,
        values.integer(1, 1_000_000_000),
        "500",
        "With identity resolution, a customer id that more devices share is named by a metric and a line in the log: "
        "it may be a placeholder. New devices are counted, each on its own partition, since the worker took the "
        "partition over; an id is named when it has its share of this number, and at least 20, on one partition.",
    )

    # Identity resolution
    identity_resolution: bool = _setting(
        False,
        values.SWITCH,
        "on",
        "`on`: an anonymous visitor and a customer are recognized as the same person by an event with both ids, or "
        "by an order with the cart or checkout id of an anonymous cart. The anonymous profile is then merged into "
        "the customer's. `off`: they stay two profiles. All workers need the same value. `on` needs the topic "
        "`<app_id>-activity`.",
    )
    device_expiry: int = _setting(
        400 * DAY,
        values.duration(at_least=HOUR),
        "90d",
        "How long the owner of a device is remembered after the device was last seen. It can be forgotten up to a "
        "day early. A changed value applies to a device when it is next seen. All workers need the same value.",
    )
    cart_id_expiry: int = _setting(
        30 * DAY,
        values.duration(at_least=HOUR),
        "7d",
        "Like `device_expiry`, for the id of a cart or a checkout.",
    )

    # The lifecycle
    playbook: str = _setting(
        playbooks.DEFAULT,
        values.SOURCE,
        "/etc/lifecycle/playbook.yaml",
        f"Playbook of the lifecycle: a path, or the name of a shipped one ({', '.join(playbooks.SHIPPED)}). All "
        "workers need the same one. A worker with another one than its group's refuses to start.",
    )

    # Time
    lateness: int = _setting(
        10 * SECOND,
        values.duration(),
        "1m",
        "How far out of order input may be and still give the same result as in order. Every deadline fires this "
        "much later.",
    )
    ordering: str = _setting(
        "arrival",
        values.word("arrival", "event_time"),
        "event_time",
        "Order in which events are applied. `arrival`: each event as it arrives; events out of order may lead to "
        "other stages. `event_time`: each event waits until no earlier one can come, so that outputs do not depend "
        "on the order of arrival; all outputs are then later by `lateness`, and by up to the delay of a topic more. "
        "All workers need the same value.",
    )
    max_future_skew: int = _setting(
        5 * MINUTE,
        values.duration(),
        "1m",
        "A record becomes a dead letter (`clock_skew`) if its event is more than this ahead of the record's timestamp.",
    )
    clickstream_delay: int = _setting(
        5 * SECOND,
        values.duration(),
        "30s",
        "Delay of the pipeline in front of the clickstream topic: when the topic is read to its end, it is "
        "considered complete up to this long ago.",
    )
    orders_delay: int = _setting(
        5 * SECOND,
        values.duration(),
        "1m",
        "Like `clickstream_delay`, for the orders topic.",
    )
    backfill_idle: int = _setting(
        10 * MINUTE,
        values.duration(),
        "30m",
        "A topic that is being filled with history counts as caught up only after this time without a record.",
    )
    clickstream_idle_timeout: int | None = _setting(
        None,
        values.optional_duration(),
        "1h",
        "Abandonments wait while the whole clickstream topic has been silent for longer than this.",
    )
    orders_idle_timeout: int | None = _setting(
        None,
        values.optional_duration(),
        "2h",
        "Abandonments wait while the whole orders topic has been silent for longer than this: a broken order feed must "
        "not look like customers who do not buy.",
    )

    # Outputs
    emit_after: int | str = _setting(
        "start",
        values.time_or("start", "always"),
        "2026-11-21T10:00:00Z",
        "Outputs that occurred before this time are not sent, so that state can be built from history without "
        "messages to customers. `start` is the first start of this application.",
    )
    max_emit_delay: int | None = _setting(
        6 * HOUR,
        values.optional_duration(),
        "1h",
        "Abandonments and triggers that are later than this, measured from when they occurred, are not sent.",
    )
    currency: str = _setting(
        "EUR",
        values.CURRENCY,
        "USD",
        "Currency of events that name none, of profiles before the first order, and of the amounts in rules. A "
        "currency in the playbook takes precedence.",
    )
    id_namespace: uuid.UUID = _setting(
        ids.NAMESPACE,
        values.UUID,
        "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        "Namespace of the ids of outputs. The same input and namespace give the same ids, whatever `app_id` is.",
    )
    erasure_salt: str | None = _setting(
        None,
        values.SECRET,
        "a long random text",
        "Salt of the hashes in erasure markers. If it is not set, `id_namespace` takes its place, and anyone who can "
        "read the state and knows the namespace can find out whether an id was erased. All workers need the same "
        "value. It cannot be changed after an erasure: workers then refuse to start.",
    )
    ce_source: str = _setting(
        "/lifecycle-streams",
        values.REFERENCE,
        "/shops/eu",
        "The `ce_source` header of outputs: the system that sent them.",
    )

    # The worker
    state_store: str = _setting(
        "memory",
        values.word("memory", "rocksdb"),
        "rocksdb",
        "Where the profiles of idle customers are kept: in memory, or in RocksDB below `data_dir`. RocksDB holds "
        "more customers than fit into memory, and restarts without reading the whole changelog.",
    )
    data_dir: Path = _setting(
        Path("lifecycle-data"),
        values.PATH,
        "/var/lib/lifecycle",
        "Directory for the files of a worker. Each worker needs its own. It may be empty at every start: everything "
        "that must last is in Kafka.",
    )
    web_host: str = _setting(
        "127.0.0.1",
        values.HOST,
        "0.0.0.0",
        "Address of the HTTP server of a worker, which serves /metrics, /healthz and /readyz.",
    )
    web_port: int = _setting(
        6066,
        values.integer(0, 65535),
        "0",
        "Port of the HTTP server. 0 takes a free port and logs it.",
    )
    erasure_token: str | None = _setting(
        None,
        values.SECRET,
        "a long random text",
        "A client that sends this token (`Authorization: Bearer …`) may request erasures with `DELETE "
        "/v1/customers/{id}` on `web_port`. Without a token, that path does not exist.",
    )
    max_buffer_bytes: int = _setting(
        8 << 20,
        values.SIZE,
        "32MiB",
        "How many bytes a partition may hold of a source that is ahead of the other one, and how many it may have "
        "forwarded ahead of the slowest partition. At this bound, the source is paused.",
    )
    shutdown_timeout: int = _setting(
        8 * SECOND,
        values.duration(at_least=SECOND),
        "20s",
        "How long a worker may take to commit and leave after a signal to stop, also when no broker answers.",
    )
    log_level: str = _setting(
        "info",
        values.word("debug", "info", "warning", "error"),
        "debug",
        "Lowest severity that is logged.",
    )
    log_format: str = _setting(
        "text",
        values.word("text", "json"),
        "json",
        "Format of the log: `text` for people, or one JSON object per line.",
    )

    @property
    def event_time_ordering(self) -> bool:
        """True if events wait in the reorder buffer and are applied by event time."""
        return self.ordering == "event_time"

    @property
    def source_topics(self) -> dict[Source, str]:
        """Topic of each source."""
        return {Source.CLICKSTREAM: self.clickstream_topic, Source.ORDERS: self.orders_topic}

    @property
    def forwarded_sources(self) -> tuple[Source, ...]:
        """Sources that are not co-partitioned: their records are forwarded to the partition of their customer."""
        co_partitioned = {
            Source.CLICKSTREAM: self.clickstream_co_partitioned,
            Source.ORDERS: self.orders_co_partitioned,
        }
        return tuple(source for source in Source if not co_partitioned[source])

    @property
    def upstream_sources(self) -> tuple[Source, ...]:
        """Sources that may hold events for other partitions; the tasks that read them report their progress."""
        return tuple(Source) if self.identity_resolution else self.forwarded_sources

    @property
    def shared_id_devices_here(self) -> int:
        """The part of `shared_id_devices` that falls to one partition. Few devices on one of many prove nothing."""
        return min(self.shared_id_devices, max(20, self.shared_id_devices // self.partitions))

    @property
    def repartition_topic(self) -> str:
        """Name of the topic on which tasks send to each other. It is not used if there are no `upstream_sources`."""
        return f"{self.app_id}-activity"

    @property
    def read_topics(self) -> dict[int, str]:
        """Topics that a task reads, by rank: sources, erasure requests, and the repartition topic if it is used."""
        topics = {int(source): topic for source, topic in self.source_topics.items()} | {ERASURES: self.erasures_topic}
        return topics | {REPARTITION: self.repartition_topic} if self.upstream_sources else topics

    @property
    def topics(self) -> dict[str, str]:
        """Topics of the wire contract, by the name of their setting."""
        names = {key: getattr(self, key) for key in FIELDS if key.endswith("_topic")}
        return names if self.profiles else {key: name for key, name in names.items() if key != "profiles_topic"}


FIELDS: dict[str, dataclasses.Field[Any]] = {field.name: field for field in dataclasses.fields(Settings)}
