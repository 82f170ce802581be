"""One chaos run: an application on an Apache Kafka, a history from a seed, workers, and the verdict."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.errors import KafkaError

from streams.core.model.event import Source
from streams.core.profile.profile import Profile
from streams.shell.admin.topic_configs import changelog_topic
from tests.chaos import history
from tests.chaos.crew import Crew
from tests.chaos.history import Event
from tests.chaos.verdict import (
    AT,
    Documents,
    Expected,
    Verdict,
    abandonments,
    bare,
    compare,
    counted,
    differing_profiles,
    ended,
    expected,
    recovered,
    standing,
    tally,
)
from tests.support.kafka_cluster import ApacheKafka, KafkaCluster
from tests.support.process_cluster import ProcessCluster, key_of
from tests.support.shop_events import HOUR, now

PATIENCE_S = 120.0
"""Seconds that a run waits for its end. They bound a failing run."""
SLICE_S = 0.1


class Run:
    """The tools of a program. It uses them in this order: `application`, `crew`, `open`, `pour`, `judge`."""

    def __init__(self, name: str, mode: str, seed: int, broker: ApacheKafka | KafkaCluster, directory: Path) -> None:
        self.name = name
        self.mode = mode
        self.seed = seed
        self.rng = random.Random(seed)
        self.broker = broker
        self.directory = directory
        self.cluster: ProcessCluster
        self.events: list[Event] = []
        """All events produced, in time order unless the program changes that."""
        self.crews: list[Crew] = []
        self._producer: AIOKafkaProducer | None = None
        self._began = time.monotonic()

    # -- the stage

    async def application(self, *before: NewTopic, **settings: str) -> ProcessCluster:
        """Return an application with its topics, with short group sessions so that a death is noticed soon. `before`
        gives topics that are created with other settings; their names are those of the settings."""
        copies = {"replication": "3"} if isinstance(self.broker, KafkaCluster) else {}
        own = {
            "partitions": "4", "backfill_idle": "10m", "session_timeout": "4s", "heartbeat_interval": "500ms",
            "rebalance_timeout": "5s", "commit_interval": "200ms", "processing_guarantee": self.mode,
        }  # fmt: skip
        self.cluster = ProcessCluster(self.broker.address, self.directory, **own | copies | settings)
        async with self.cluster.admin() as admin:
            for topic in before:
                topic.name = self.cluster.settings.topics[topic.name]
            await admin.create_topics(before)
        await self.cluster.create_topics()
        return self.cluster

    def crew(self, slots: int, *, program: str = "", fault: str = "", **settings: str) -> Crew:
        """Return workers for the application."""
        crew = Crew(self.cluster, slots, program=program, fault=fault, **settings)
        self.crews.append(crew)
        return crew

    async def close(self) -> None:
        """Release everything at the end."""
        if hasattr(self, "cluster"):
            self.cluster.stop()
        if self._producer is not None:
            await self._producer.stop()

    # -- the input

    def sessions(self, customers: int = 300, sessions: int = 1_500) -> list[Event]:
        """Return the history of this run: days that ended three hours ago. All of it is a backfill, in which only
        events move time."""
        return history.history(self.seed, customers=customers, sessions=sessions, end=now() - 3 * HOUR)

    async def open(self, events: list[Event]) -> None:
        """Produce an event to every partition of every source before the history."""
        await self.produce(history.frame("opening", events[0].at - 1_000, self.cluster.settings.partitions))

    async def produce(self, events: Iterable[Event], *, timestamps: bool = False) -> None:
        """Produce events in their order, and wait until all are acknowledged. `timestamps`: records get the times of
        their events, if their topic accepts that."""
        if self._producer is None:
            self._producer = AIOKafkaProducer(
                bootstrap_servers=self.cluster.settings.broker, enable_idempotence=True, linger_ms=5,
                request_timeout_ms=300_000, metadata_max_age_ms=2_000,
            )  # fmt: skip
            await self._producer.start()
        topics = self.cluster.settings.source_topics
        sent = []
        for event in events:
            self.events.append(event)
            value, key = json.dumps(event.fields).encode(), key_of(event.fields).encode()
            at = event.at if timestamps else None
            sent.append(await self._producer.send(topics[event.source], value, key=key, timestamp_ms=at))
        await asyncio.gather(*sent)

    async def pour(self, events: list[Event], seconds: float) -> None:
        """Produce events at an even rate."""
        for part in history.parts(events, max(1, int(seconds / SLICE_S))):
            await self.produce(part)
            await asyncio.sleep(SLICE_S)

    # -- the output

    async def read(self, topic: str) -> list[Any]:
        """Return all records of a topic, as a subscriber reads them that reads committed records."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.cluster.settings.broker, enable_auto_commit=False, isolation_level="read_committed"
        )
        await consumer.start()
        try:
            partitions = [TopicPartition(topic, n) for n in range(self.cluster.settings.partitions)]
            consumer.assign(partitions)
            await consumer.seek_to_beginning(*partitions)
            ends = await consumer.end_offsets(partitions)
            records: list[Any] = []
            deadline = time.monotonic() + PATIENCE_S
            for tp, end in ends.items():
                while await consumer.position(tp) < end:
                    for found in (await consumer.getmany(timeout_ms=200)).values():
                        records += found
                    assert time.monotonic() < deadline, f"{topic} cannot be read to its end"
            return records
        finally:
            await consumer.stop()

    async def received(self) -> Documents:
        """Return all outputs."""
        settings = self.cluster.settings
        topics = (settings.stage_changes_topic, settings.abandonments_topic, settings.identities_topic)
        records = [record for topic in topics for record in await self.read(topic)]
        return [json.loads(record.value) | {AT: record.timestamp} for record in records]

    async def judge(
        self,
        harm: Mapping[str, float],
        *,
        live: bool = False,
        roughly: bool = False,
        limits: Mapping[str, tuple[float, float]] = {},
        minima: Mapping[str, tuple[float, float]] = {},
        ends: Mapping[int, int] = {},
        tolerates: tuple[str, ...] = (),
        **notes: Any,
    ) -> Verdict:
        """Close the history, wait for its outputs, end the workers, and compare.

        `live`: the history is not closed, and time goes on in it; the program has made sure that no deadline comes due
        meanwhile. `roughly`: input was out of order, and only the parts are compared that do not depend on the order:
        the counts of profiles, and the abandonments that stand. `limits`, `minima`: as in `Verdict`. `ends`: how many
        workers may end by themselves because of the fault, by exit code.
        """
        if live:
            until = now()
        else:
            until = max(event.at for event in self.events)
            # With event-time ordering, an event is applied once no other of its time can arrive.
            closing = until + self.cluster.settings.lateness + self.cluster.settings.event_time_ordering
            await self.produce(history.frame("closing", closing, self.cluster.settings.partitions))
        right = expected(self.cluster.settings, self.events, until, self.directory / "expected")
        if roughly:
            right = Expected(abandonments(right.outputs), right.profiles)
        await self.settled(right)
        for crew in self.crews:
            await crew.dismiss()
        unasked = sum((crew.ends for crew in self.crews), start=Counter[int]())
        held = dict(limits) | ended(unasked, ends)
        return await self.compared(right, harm, held, dict(minima), tolerates, notes, counted if roughly else bare)

    async def settled(self, right: Expected) -> None:
        """Wait until all expected outputs are there and all input is committed, and a little longer."""
        deadline = time.monotonic() + PATIENCE_S
        wanted = {id for id, document in right.outputs.items() if not document["customer_id"].startswith(history.FRAME)}
        while time.monotonic() < deadline:
            try:
                if await self._all_committed() and wanted <= {document["id"] for document in await self.received()}:
                    break
            except KafkaError:
                pass
            await asyncio.sleep(0.5)
        await asyncio.sleep(2.0)

    async def compared(
        self,
        right: Expected,
        harm: Mapping[str, float],
        limits: dict[str, tuple[float, float]],
        minima: dict[str, tuple[float, float]],
        tolerates: tuple[str, ...],
        notes: dict[str, Any],
        view: Callable[[Profile], object],
    ) -> Verdict:
        """Return the verdict over the present contents of the topics."""
        received = await self.received()
        if view is counted:
            received = standing(received)
        found = compare(right.outputs, received)
        profiles = recovered(await self.read(changelog_topic(self.cluster.settings)))
        wrong = differing_profiles(right.profiles, profiles, view)
        extra = [*found.orphaned, *found.taken_back, *found.false_abandonments, *found.unexplained]
        if extra:
            notes["extra outputs"] = dict(tally(extra))
        stops = [code for crew in self.crews for code in crew.failed_stops]
        if stops:
            notes["stopped with"] = stops
        if self.mode == "at_least_once":
            tolerates = ("repeated", *tolerates)
        return Verdict(
            program=self.name,
            mode=self.mode,
            seed=self.seed,
            harm=dict(harm),
            events=len(self.events),
            outputs=len(right.outputs),
            profiles=len(right.profiles),
            missing=len(found.missing),
            extra=len(extra),
            orphaned=len(found.orphaned),
            taken_back=len(found.taken_back),
            false_abandonments=len(found.false_abandonments),
            differing=len(found.differing),
            repeated=found.repeated,
            wrong_profiles=len(wrong),
            early=found.early,
            limits=limits,
            minima=minima,
            failed_stops=len(stops),
            tolerates=tolerates,
            seconds=round(time.monotonic() - self._began, 1),
            notes=notes,
        )

    async def _all_committed(self) -> bool:
        """Return whether all but the closing frame is committed; the last events of the frame are not applied."""
        async with self.cluster.admin() as admin:
            committed = await admin.list_consumer_group_offsets(self.cluster.settings.app_id)
        counted = dict.fromkeys(Source, 0)
        for event in self.events:
            counted[event.source] += 1
        topics, partitions = self.cluster.settings.source_topics, self.cluster.settings.partitions
        return all(
            sum(
                max(0, committed[tp].offset)
                for n in range(partitions)
                if (tp := TopicPartition(topics[source], n)) in committed
            )
            >= count - partitions
            for source, count in counted.items()
        )
