"""The broker of the benchmarks, and a client for topics, events, offsets of groups, and outputs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from benchmarks.job import PARTITIONS
from streams.devtools.apache_kafka import ApacheKafka

_WAIT_S: Final = 30.0


class Broker(ApacheKafka):
    """One node with a full JIT and enough memory, so that it limits no peer."""

    jvm = ("-Xms1g", "-Xmx1g", "-XX:+UseG1GC")


class Outputs(NamedTuple):
    """All records of an output topic."""

    by_customer: dict[str, list[dict[str, Any]]]
    """in the order of the topic"""
    last_at: float | None
    """when the last of them was appended, by the broker's clock, epoch seconds"""


class Cluster:
    """A client of the broker for measurements. No peer uses it."""

    def __init__(self, address: str) -> None:
        self.address = address
        quiet = {"bootstrap.servers": address, "log_level": 2}  # the broker ends before they do
        self._admin = AdminClient(quiet)
        self._watcher = Consumer({**quiet, "group.id": "benchmark-watcher"})

    def create(self, *names: str, appended_times: bool = False) -> None:
        """Create topics that keep everything; with `appended_times` records have their append times as timestamps."""
        config = {"retention.ms": "-1"}
        if appended_times:
            config["message.timestamp.type"] = "LogAppendTime"
        made = self._admin.create_topics([NewTopic(name, PARTITIONS, 1, config=config) for name in names])
        for future in made.values():
            future.result(_WAIT_S)
        while not set(names) <= set(self._admin.list_topics(timeout=_WAIT_S).topics):
            time.sleep(0.05)

    def delete_all(self) -> None:
        """Remove the topics of a trial that is over, so that the broker is the same for the next."""
        names = [name for name in self._admin.list_topics(timeout=_WAIT_S).topics if not name.startswith("__")]
        for future in self._admin.delete_topics(names).values() if names else ():
            future.result(_WAIT_S)

    def produce(self, topic: str, records: Iterable[tuple[bytes, bytes]]) -> None:
        """Send records to a topic, on the partitions of Java clients. Return when all are acknowledged."""
        failed: list[Any] = []
        producer = Producer(
            {
                "bootstrap.servers": self.address,
                "partitioner": "murmur2_random",
                "linger.ms": 20,
                "queue.buffering.max.kbytes": 1 << 20,
            }
        )

        def delivered(error: Any, _message: Any) -> None:
            if error is not None:
                failed.append(error)

        for key, value in records:
            while True:
                try:
                    producer.produce(topic, value, key, on_delivery=delivered)
                    break
                except BufferError:
                    producer.poll(0.1)
            producer.poll(0)
        if producer.flush(_WAIT_S) or failed:
            raise RuntimeError(f"not all events could be produced: {failed[:1]}")

    def warm_up(self, records: Sequence[tuple[bytes, bytes]]) -> None:
        """Let the broker append and deliver these records, so that the first trial does not wait for its JIT."""
        self.create("warm-up")
        self.produce("warm-up", records)
        consumer = Consumer({"bootstrap.servers": self.address, "group.id": "benchmark-warm-up"})
        consumer.assign([TopicPartition("warm-up", n, 0) for n in range(PARTITIONS)])
        left = len(records)
        while left > 0:
            left -= len(consumer.consume(10_000, timeout=1.0))
        consumer.close()
        self.delete_all()

    def count(self, topic: str) -> int:
        """Return the number of records on a topic, over all partitions."""
        return sum(self._ends(topic))

    def _ends(self, topic: str) -> list[int]:
        return [self._watcher.get_watermark_offsets(TopicPartition(topic, n), _WAIT_S)[1] for n in range(PARTITIONS)]

    def committed(self, group: str, topic: str) -> list[int]:
        """Return the offsets that a group has committed, 0 for a partition without one."""
        partitions = [TopicPartition(topic, n) for n in range(PARTITIONS)]
        request = ConsumerGroupTopicPartitions(group, partitions)
        try:
            answer = self._admin.list_consumer_group_offsets([request])[group].result(_WAIT_S)
        except KafkaException:
            return [0] * PARTITIONS  # there is no such group yet
        return [max(0, partition.offset) for partition in answer.topic_partitions]

    def members(self, group: str) -> int:
        """Return the number of members of a group; one that has just ended may still count."""
        return len(self._admin.describe_consumer_groups([group])[group].result(_WAIT_S).members)

    def outputs(self, topic: str, parse: Callable[[bytes], dict[str, Any]]) -> Outputs:
        """Read a topic from its start to its end. Called when its producer is done."""
        ends = self._ends(topic)
        consumer = Consumer({"bootstrap.servers": self.address, "group.id": "benchmark-outputs"})
        consumer.assign([TopicPartition(topic, n, 0) for n, end in enumerate(ends) if end])
        by_customer: dict[str, list[dict[str, Any]]] = {}
        left, last_at, give_up = sum(ends), None, time.monotonic() + _WAIT_S
        while left > 0:
            if time.monotonic() > give_up:
                raise RuntimeError(f"{left} records of {topic} cannot be read")
            for message in consumer.consume(10_000, timeout=1.0):
                if message.error():
                    raise KafkaException(message.error())
                left -= 1
                at = message.timestamp()[1] / 1000
                last_at = at if last_at is None or at > last_at else last_at
                output = parse(message.value())
                by_customer.setdefault(output["customer"], []).append(output)
        consumer.close()
        return Outputs(by_customer, last_at)
