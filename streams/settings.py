"""The settings: one table, from which reading, checking, `lifecycle settings` and docs/settings.md are derived.

Each field of `Settings` is one setting: its name, default, kind, an example and what it does. `lateness` is set by the
environment variable LIFECYCLE_LATENESS or by the key `lateness` of the TOML file that LIFECYCLE_CONFIG names; the
environment wins. Inside, durations are milliseconds, sizes bytes, times epoch milliseconds, `off` is None or False.
"""

from __future__ import annotations

import dataclasses
import datetime
import difflib
import hashlib
import os
import re
import tomllib
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from streams import playbooks, values
from streams.contracts.native import Decoder
from streams.core.event_time.inputs import ERASURES, REPARTITION
from streams.core.lifecycle.playbook import Playbook
from streams.core.model import ids
from streams.core.model.event import Source
from streams.core.model.policy import DAY, HOUR, MINUTE, SECOND, Policy
from streams.core.model.sources import SourceSpec
from streams.core.rules.types import Type
from streams.errors import UserError

T = TypeVar("T")

PREFIX = "LIFECYCLE_"
CONFIG = PREFIX + "CONFIG"


class About(NamedTuple):
    """What there is to say about a setting besides its name and default."""

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
    """All that can be set about a worker. Made by `load`; tests and the demo make variants with `dataclasses.replace`,
    which checks nothing."""

    # Kafka
    broker: str = _setting(
        "127.0.0.1:9092",
        values.BROKERS,
        "kafka-1:9092,kafka-2:9092",
        "The brokers to ask first, with commas between. `kafka://` in front is tolerated.",
    )
    broker_wait: int | None = _setting(
        30 * SECOND,
        values.optional_duration(),
        "2m",
        "How long a command waits at its start for a broker that does not answer, asking again and again. `off`: for "
        "as long as it takes. Once a worker has started, it always waits.",
    )
    app_id: str = _setting(
        "lifecycle",
        values.APPLICATION,
        "lifecycle-eu",
        "The consumer group, and the first part of the names of the topics that hold its state. Another id is another "
        "application: it starts from nothing.",
    )
    partitions: int = _setting(
        4,
        values.integer(1, 10_000),
        "12",
        "Tasks that share the work, each with its part of the state: the partitions that each input topic best has. It "
        "bounds how many workers can share the work. It cannot be changed once there is state.",
    )
    replication: int = _setting(
        1,
        values.integer(1, 100),
        "3",
        "Copies of each topic that is created here. 3 in production; then two of them must have a record before it "
        "counts as written.",
    )
    partitioner: str = _setting(
        "murmur2",
        values.word("murmur2", "crc32"),
        "crc32",
        "How the producers of the input topics choose the partition of a key: `murmur2` as Java clients do, `crc32` as "
        "librdkafka does by default.",
    )
    processing_guarantee: str = _setting(
        "at_least_once",
        values.word("at_least_once", "exactly_once"),
        "exactly_once",
        "After a crash state is exact in both. `at_least_once`: an output may be sent again, with the same id. "
        "`exactly_once`: outputs, state and offsets of a commit are one Kafka transaction; who reads with "
        "`isolation.level=read_committed` sees each output once, when it is committed. All workers need the same.",
    )
    transaction_timeout: int = _setting(
        15 * SECOND,
        values.duration(at_least=SECOND),
        "30s",
        "With `exactly_once`: what a commit may take, brokers that fail over included. For so long a worker that died "
        "within one keeps subscribers waiting, where nobody takes over.",
    )
    commit_interval: int = _setting(
        SECOND,
        values.duration(at_least=50),
        "250ms",
        "How often state and offsets are committed; sooner in a backlog, while partitions wait for what others commit. "
        "Outputs of deadlines leave with the commit.",
    )
    session_timeout: int = _setting(
        10 * SECOND,
        values.duration(at_least=SECOND),
        "45s",
        "A worker not heard from for so long is taken for dead, and its partitions go to the others. The broker bounds "
        "it (`group.min.session.timeout.ms`).",
    )
    heartbeat_interval: int = _setting(
        3 * SECOND,
        values.duration(at_least=100),
        "1s",
        "How often a worker says that it is there. At most a third of `session_timeout`.",
    )
    rebalance_timeout: int = _setting(
        30 * SECOND,
        values.duration(at_least=SECOND),
        "1m",
        "How long a worker may take to commit and let go when partitions are dealt anew.",
    )
    standby_replicas: int = _setting(
        0,
        values.integer(0, 10),
        "1",
        "Further workers that keep a copy of each partition's state, to take over sooner.",
    )

    # Topics
    clickstream_topic: str = _setting("clickstream", values.TOPIC, "shop.clickstream", "Input: what visitors do.")
    orders_topic: str = _setting("orders", values.TOPIC, "shop.orders", "Input: what becomes of orders.")
    clickstream_co_partitioned: bool = _setting(
        True,
        values.SWITCH,
        "off",
        "Whether the key of each clickstream record is its customer's id (`customer_id`, else `anonymous_id`), so that "
        "it is on that partition; one that is not is then a dead letter (`wrong_partition`). `off`: it is forwarded to "
        "where it belongs, and no time passes there until all partitions have come as far. A topic that has not as "
        "many partitions as `partitions` says needs `off`.",
    )
    orders_co_partitioned: bool = _setting(True, values.SWITCH, "off", "The same for the orders topic.")
    erasures_topic: str = _setting(
        "lifecycle-erasures",
        values.TOPIC,
        "crm.erasures",
        "Input: requests to erase somebody, each on every partition (`lifecycle erase` puts it there).",
    )
    stage_changes_topic: str = _setting(
        "lifecycle-stage-changes", values.TOPIC, "crm.stage-changes", "Output: a customer entered or left a stage."
    )
    abandonments_topic: str = _setting(
        "lifecycle-abandonments", values.TOPIC, "crm.abandonments", "Output: abandonments and what became of them."
    )
    triggers_topic: str = _setting("lifecycle-triggers", values.TOPIC, "crm.triggers", "Output: triggers.")
    identities_topic: str = _setting(
        "lifecycle-identities",
        values.TOPIC,
        "crm.identities",
        "Output: whose a device turned out to be, and who was erased.",
    )
    profiles_topic: str = _setting(
        "lifecycle-profiles", values.TOPIC, "crm.profiles", "Output, if `profiles` is on: the latest profile of each."
    )
    dead_letters_topic: str = _setting(
        "lifecycle-dead-letters", values.TOPIC, "crm.dead-letters", "Output: input records that could not be taken."
    )
    profiles: bool = _setting(
        False, values.SWITCH, "on", "Whether profiles are published, each once per commit in which it changed."
    )

    # Who is who
    identity_resolution: bool = _setting(
        False,
        values.SWITCH,
        "on",
        "Whether an anonymous visitor and a customer are found to be one: by an event with both ids, or an order with "
        "the cart or checkout id of an anonymous cart. The anonymous profile is then merged into the customer's. "
        "`off`: they are two profiles. All workers need the same. It needs the topic `<app_id>-activity`.",
    )
    device_expiry: int = _setting(
        400 * DAY,
        values.duration(at_least=HOUR),
        "90d",
        "So long after it was last seen it is forgotten whose a device is, at most a day too early. A changed value "
        "counts for a device from when it is next seen. All workers need the same.",
    )
    cart_id_expiry: int = _setting(
        30 * DAY, values.duration(at_least=HOUR), "7d", "The same of the id of a cart or a checkout."
    )

    # The lifecycle
    playbook: str = _setting(
        playbooks.DEFAULT,
        values.SOURCE,
        "/etc/lifecycle/playbook.yaml",
        f"What the lifecycle is: the path of a playbook, or the name of one that is shipped "
        f"({', '.join(playbooks.SHIPPED)}). The workers of a group need the same one.",
    )

    # Time
    lateness: int = _setting(
        10 * SECOND,
        values.duration(),
        "1m",
        "How far out of order input may be and still count as if it had been in order. Every deadline fires so much "
        "later.",
    )
    ordering: str = _setting(
        "arrival",
        values.word("arrival", "event_time"),
        "event_time",
        "In which order events are applied. `arrival`: as they come, each at once; what is out of order may make other "
        "stages. `event_time`: each is held until nothing earlier may come, so that what comes out does not depend on "
        "the order in which it went in. Everything comes `lateness` later then, and up to a topic's delay more. All "
        "workers need the same.",
    )
    max_future_skew: int = _setting(
        5 * MINUTE,
        values.duration(),
        "1m",
        "A record whose event lies further ahead of the record's own timestamp is a dead letter (`clock_skew`).",
    )
    clickstream_delay: int = _setting(
        5 * SECOND,
        values.duration(),
        "30s",
        "What the pipeline in front of the clickstream topic takes: a topic read to its end is taken to be complete up "
        "to so long ago.",
    )
    orders_delay: int = _setting(5 * SECOND, values.duration(), "1m", "The same for the orders topic.")
    backfill_idle: int = _setting(
        10 * MINUTE,
        values.duration(),
        "30m",
        "A topic being filled with history counts as read to its end only after so long without a record.",
    )
    clickstream_idle_timeout: int | None = _setting(
        None,
        values.optional_duration(),
        "1h",
        "While the whole clickstream topic has been silent for so long, abandonments are held back.",
    )
    orders_idle_timeout: int | None = _setting(
        None,
        values.optional_duration(),
        "2h",
        "While the whole orders topic has been silent for so long, abandonments are held back: a dead order feed is "
        "not a refusal to buy.",
    )

    # Outputs
    emit_after: int | str = _setting(
        "start",
        values.time_or("start", "always"),
        "2026-11-21T10:00:00Z",
        "What occurred before is not sent, so that state can be built from history without messages to anybody. "
        "`start` is when this application was first started.",
    )
    max_emit_delay: int | None = _setting(
        6 * HOUR,
        values.optional_duration(),
        "1h",
        "Abandonments and triggers that come so much later than they occurred are not sent.",
    )
    currency: str = _setting(
        "EUR",
        values.CURRENCY,
        "USD",
        "Taken for events that name no currency, and shown before the first order; and of the amounts in rules. A "
        "playbook that names one decides.",
    )
    id_namespace: uuid.UUID = _setting(
        ids.NAMESPACE,
        values.UUID,
        "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        "The name space of the ids of outputs. The same input and name space yield the same ids, whatever `app_id` is.",
    )
    erasure_salt: str | None = _setting(
        None,
        values.SECRET,
        "a long random text",
        "Goes into the hashes under which it is remembered who was erased. Without one they are made with "
        "`id_namespace`, and whoever reads the state and knows that can try ids. All workers need the same. It cannot "
        "be changed once somebody was erased: workers then refuse to start.",
    )
    ce_source: str = _setting(
        "/lifecycle-streams", values.REFERENCE, "/shops/eu", "The `ce_source` of outputs: who says so."
    )

    # The worker
    state_store: str = _setting(
        "memory",
        values.word("memory", "rocksdb"),
        "rocksdb",
        "Where customers are who have done nothing for a while: in memory, or in RocksDB below `data_dir`, for more "
        "customers than fit into memory, and to restart without reading all of the changelog.",
    )
    data_dir: Path = _setting(
        Path("lifecycle-data"),
        values.PATH,
        "/var/lib/lifecycle",
        "Where a worker keeps files; each worker has its own. All that matters is in Kafka: it may be empty at every "
        "start.",
    )
    web_host: str = _setting(
        "127.0.0.1", values.HOST, "0.0.0.0", "The address on which /metrics, /healthz and /readyz are served."
    )
    web_port: int = _setting(6066, values.integer(0, 65535), "0", "Their port. 0 takes a free one and logs it.")
    erasure_token: str | None = _setting(
        None,
        values.SECRET,
        "a long random text",
        "Whoever sends it (`Authorization: Bearer …`) may have people erased by `DELETE /v1/customers/{id}` on that "
        "port. Without one there is no such path.",
    )
    max_buffer_bytes: int = _setting(
        8 << 20,
        values.SIZE,
        "32MiB",
        "What a partition may hold of a source that is ahead of the other, and what it may have forwarded ahead of the "
        "slowest. At this bound that source is paused.",
    )
    shutdown_timeout: int = _setting(
        8 * SECOND,
        values.duration(at_least=SECOND),
        "20s",
        "How long a worker that is told to stop may take to commit and leave, also when no broker answers.",
    )
    log_level: str = _setting(
        "info", values.word("debug", "info", "warning", "error"), "debug", "The least severe entries that are logged."
    )
    log_format: str = _setting(
        "text", values.word("text", "json"), "json", "How they are written: for people, or one JSON object per line."
    )

    @property
    def event_time_ordering(self) -> bool:
        """Whether events are held and applied by time (`streams.core.engine.reorder_buffer`)."""
        return self.ordering == "event_time"

    def load_playbook(self, source: str | Path | None = None) -> Playbook:
        """The playbook, or that of another path or name, with these settings in it. Reads its file; raises `UserError`
        if it cannot be used."""
        deployment = Policy(
            currency=self.currency,
            lateness=self.lateness,
            device_expiry=self.device_expiry,
            cart_id_expiry=self.cart_id_expiry,
        )
        return playbooks.load(self.playbook if source is None else source, deployment)

    @property
    def source_topics(self) -> dict[Source, str]:
        """The topic of each source."""
        return {Source.CLICKSTREAM: self.clickstream_topic, Source.ORDERS: self.orders_topic}

    @property
    def source_specs(self) -> dict[Source, SourceSpec]:
        """How each source behaves."""
        return {
            Source.CLICKSTREAM: SourceSpec(delay=self.clickstream_delay, backfill_idle=self.backfill_idle),
            Source.ORDERS: SourceSpec(delay=self.orders_delay, backfill_idle=self.backfill_idle),
        }

    def decoders(self, currency: str, properties: Mapping[str, Type]) -> dict[Source, Decoder]:
        """One for each source, with what a playbook says of currency and properties. For whoever reads the topics."""
        return {
            source: Decoder(
                source,
                topic,
                default_currency=currency,
                max_future_skew=self.max_future_skew,
                properties=properties,
                identity_resolution=self.identity_resolution,
            )
            for source, topic in self.source_topics.items()
        }

    @property
    def salt_of_marks(self) -> bytes:
        """The key of the hashes under which it is remembered who was erased (`streams.core.store.erasure_markers`)."""
        salt = f"{self.id_namespace}" if self.erasure_salt is None else self.erasure_salt
        return hashlib.blake2b(salt.encode(), digest_size=32, person=b"erasure").digest()

    @property
    def forwarded_sources(self) -> tuple[Source, ...]:
        """The sources whose records are forwarded if they are not on their customer's partition."""
        co_partitioned = {
            Source.CLICKSTREAM: self.clickstream_co_partitioned,
            Source.ORDERS: self.orders_co_partitioned,
        }
        return tuple(source for source in Source if not co_partitioned[source])

    @property
    def upstream_sources(self) -> tuple[Source, ...]:
        """The sources that may hold what concerns other partitions: their tasks say how far these have come."""
        return tuple(Source) if self.identity_resolution else self.forwarded_sources

    @property
    def repartition_topic(self) -> str:
        """The internal topic on which tasks send to each other. There is none if they have nothing to send."""
        return f"{self.app_id}-activity"

    @property
    def read_topics(self) -> dict[int, str]:
        """What a partition's task reads, by rank: sources, erasure requests, and the activity topic if there is one."""
        topics = {int(source): topic for source, topic in self.source_topics.items()} | {ERASURES: self.erasures_topic}
        return topics | {REPARTITION: self.repartition_topic} if self.upstream_sources else topics

    @property
    def topics(self) -> dict[str, str]:
        """Every topic of the wire contract: name of its setting to name of the topic."""
        names = {key: getattr(self, key) for key in FIELDS if key.endswith("_topic")}
        return names if self.profiles else {key: name for key, name in names.items() if key != "profiles_topic"}


FIELDS: dict[str, dataclasses.Field[Any]] = {field.name: field for field in dataclasses.fields(Settings)}

# --------------------------------------------------------------------------------------------------------- reading


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read and check the settings; called once by each command. Raises `UserError` for the first mistake found."""
    return load_with_origins(environ)[0]


def load_with_origins(environ: Mapping[str, str] | None = None) -> tuple[Settings, dict[str, str]]:
    """As `load`, with where each setting that is not the default came from: its variable, or the file."""
    found: dict[str, Any] = {}
    origins: dict[str, str] = {}
    environ = os.environ if environ is None else environ
    for key, origin, subject, text in (*_from_file(environ.get(CONFIG, "")), *_from_environment(environ)):
        try:
            found[key] = FIELDS[key].metadata["about"].kind.parse(text)
        except ValueError as error:
            raise UserError(f"{subject} {error}.") from None
        origins[key] = origin
    settings = Settings(**found)
    _check(settings)
    return settings, origins


def _from_environment(environ: Mapping[str, str]) -> Iterator[tuple[str, str, str, str]]:
    for variable, value in sorted(environ.items()):
        if not variable.startswith(PREFIX) or variable == CONFIG or _KUBERNETES_LINK.search(variable):
            continue
        key = variable.removeprefix(PREFIX).lower()
        if key not in FIELDS or variable != PREFIX + key.upper():
            raise UserError(f"{variable} is not a setting{_meant(variable, [PREFIX + key.upper() for key in FIELDS])}")
        if text := value.strip():  # empty is unset, as `${X:-}` of Compose files leaves it
            yield key, variable, f"{variable}={text}", text


_KUBERNETES_LINK = re.compile(r"(_SERVICE_HOST|_SERVICE_PORT(_\w+)?|_PORT_\d+_(TCP|UDP|SCTP)(_\w+)?|^LIFECYCLE_PORT)$")
"""What Kubernetes puts into every container for a Service whose name begins with `lifecycle`."""


def _from_file(name: str) -> Iterator[tuple[str, str, str, str]]:
    if not name:
        return
    try:
        with Path(name).open("rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise UserError(f"{CONFIG}={name} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{CONFIG}={name} is not TOML: {error}.") from None
    for key, value in table.items():
        if key not in FIELDS:
            raise UserError(f"{key} in {name} is not a setting{_meant(key, list(FIELDS))}")
        text = _text(value)
        if text is None:
            example = FIELDS[key].metadata["about"].example
            raise UserError(f"{key} in {name} is a {type(value).__name__}: write a text, such as {example!r}.")
        yield key, name, f"{key} = {text!r} in {name}", text


def _text(value: object) -> str | None:
    """A TOML value as it would be written in the environment."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, str | int):
        return str(value)
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return ",".join(value)
    return None


def _meant(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.75)
    return f": did you mean {close[0]}?" if close else ": `lifecycle settings` lists them all."


def _check(settings: Settings) -> None:
    """What no setting can tell alone."""
    if settings.heartbeat_interval * 3 > settings.session_timeout:
        raise UserError(
            f"{PREFIX}HEARTBEAT_INTERVAL={values.show_duration(settings.heartbeat_interval)} is more than a third of "
            f"{PREFIX}SESSION_TIMEOUT={values.show_duration(settings.session_timeout)}: lower it, or raise the other."
        )
    taken: dict[str, str] = {}
    for key, topic in settings.topics.items():
        if topic in taken:
            raise UserError(
                f"{PREFIX}{key.upper()} and {PREFIX}{taken[topic].upper()} are both {topic}: give each its own topic."
            )
        taken[topic] = key
