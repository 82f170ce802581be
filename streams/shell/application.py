"""The Faust application: one agent per input topic, the table of profiles, the tasks and readers of the assigned
partitions.

Faust decides who owns which partition and recovers the table; from there on a `PartitionTask` does the work, and a
`SourceReader` for a partition of a topic that has not as many of them as there are tasks. Whatever leaves memory and
log disagreeing ends the process (`fail`): the next one recovers.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

import faust
from aiokafka.errors import KafkaError
from faust.app.base import BootStrategy
from faust.types import TP

from streams import __version__
from streams.core.activity import Source
from streams.core.customer import Lifecycle
from streams.core.effects import Emission
from streams.core.engine import LABELS, PartitionEngine
from streams.core.inputs import ERASURES, FORWARDED, number_of
from streams.core.playbook import Playbook
from streams.core.sources import Arrivals, Fetch, Mark
from streams.core.step import Step
from streams.errors import UserError
from streams.observe.prometheus import Metrics
from streams.settings import Settings
from streams.shell import erasing, last_failure, topics
from streams.shell.agreement import Agreement
from streams.shell.at_least_once import AtLeastOnce
from streams.shell.clock import MAX_SKEW_MS, ClockWatch
from streams.shell.committer import Committer
from streams.shell.exactly_once import ExactlyOnce
from streams.shell.faults import (
    ELECTION_MS,
    CountChanged,
    NoOffset,
    OutOfRange,
    StateBehind,
    TopicAnew,
    WasApart,
)
from streams.shell.guarantee import Guarantee
from streams.shell.http import Erasing, Health, HttpServer, LoopLag
from streams.shell.marks import OtherSalt, check_of, decode_marker, decode_metadata, source_mark
from streams.shell.reader import SourceReader, name_of
from streams.shell.recovering import RecoveryWatch
from streams.shell.silence import SilenceWatch
from streams.shell.slowest import slowest
from streams.shell.state import State
from streams.shell.task import PartitionTask
from streams.transport import driver
from streams.transport.patience import patiently

log = logging.getLogger(__name__)

TICK_S = 0.1
OFFSET_ATTEMPTS = 3
FACTS_S = 1.0
TIDY_S = 1.0
"""How often it is looked for what is left of who was erased."""
ERASURE_TIMEOUT_S = 20.0
"""How long who asks for an erasure over HTTP waits for the broker to have the request."""
TOPIC_IDS_S = 5.0
"""How often it is asked whether the topics are still the ones they were. Tasks wait from then on for what comes of new
partitions: what is put there meanwhile is not late yet, with the default delay and lateness."""
ANSWERED_MS = 5_000
STEP = Step(records=4096, deadlines=500, pending=128 << 10)
"""Some 30 ms. What a profile keeps fits a record with it: a batch takes 512 KiB, and a profile 64."""
SMALL_CHUNK = 200
"""Records of a chunk whose outputs may wait for those of the poll's others."""
EXIT_FORCED = 70
"""The exit code when shutting down took too long (EX_SOFTWARE)."""


class _BootStrategy(BootStrategy):
    enable_web = False  # whatever the command line says: the HTTP is our own


class App(faust.App):
    """Made by `streams.shell.factory.create_app`."""

    BootStrategy = _BootStrategy

    settings: Settings
    table: Any
    """The `StateTable` of profiles."""
    _rebalancing = False
    """From when partitions are taken to when they are dealt anew."""
    _rebalances = 0

    def __init__(
        self, settings: Settings, playbook: Playbook, clock: Callable[[], int], faust_configuration: Mapping[str, Any]
    ) -> None:
        self.settings = settings
        self.changelog_topic = topics.changelog_topic(settings)
        self.source_topics = settings.source_topics
        self.read_topics = settings.read_topics
        self.clock = clock
        self.tasks: dict[int, PartitionTask] = {}
        """By partition: those that process. Empty during a rebalance."""
        self.readers: dict[TP, SourceReader] = {}
        """As `tasks`, of the sources that are `independent`."""
        self.independent: frozenset[Source] = frozenset()
        """The sources whose topics have not as many partitions as there are tasks."""
        self.failure: str | None = None
        """Why the worker ends, if it does so by itself."""
        self._lifecycle = Lifecycle(playbook, settings.id_namespace)
        self._agreement = Agreement(playbook, settings.linking)
        self._partitions = dict.fromkeys(Source, settings.partitions)
        """Of the topic of each source, as of the last assignment."""
        self._slowest: int | None = None
        """The least progress of the sources that this worker's tasks do not hear of; see `slowest`."""
        self._paused: dict[TP, Source] = {}
        self._clock_watch = ClockWatch(clock, time.monotonic)
        self._silence = SilenceWatch(
            {Source.CLICKSTREAM: settings.clickstream_hold_after, Source.ORDERS: settings.orders_hold_after}
        )
        self.health = Health()
        self._loop_lag = LoopLag(self.health)
        self._recovery_watch = RecoveryWatch()
        self.metrics = Metrics(
            version=__version__,
            ready=self.health.ready,
            event_loop_lag=self._loop_lag.worst,
            clock=lambda: clock() / 1000,
        )
        if (before := last_failure.last(settings.data_dir)) is not None:
            self.metrics.last_failure(before.reason, before.at / 1000)
        self._guarantee: Guarantee = (
            ExactlyOnce(self) if settings.processing_guarantee == "exactly_once" else AtLeastOnce(self)
        )
        self.committer = Committer(self, self._guarantee)
        token = settings.erasure_token
        self._http = HttpServer(
            settings.web_host,
            settings.web_port,
            self.health,
            self.metrics.exposition,
            None if token is None else Erasing(token, self._ask_for_erasure),
        )
        self._stopping = False
        self._topic_ids: dict[str, str] = {}
        """Of all topics that are read: as they were when they were first seen."""
        super().__init__(settings.app_id, **faust_configuration)

    # -- life

    def on_init_dependencies(self) -> Any:
        """Called by Faust."""
        services = super().on_init_dependencies()
        self.sensors.remove(self.monitor)  # its statistics of each message, which nobody reads, cost …
        self.sensors.add(faust.Sensor())  # … but without any sensor Faust warns at each rebalance
        return services

    async def on_start(self) -> None:
        """Called by Faust when the worker starts."""
        await super().on_start()
        problems, self.independent = await topics.look(self.settings)
        if problems:
            self.fail(" ".join(problem.sentence for problem in problems))
            raise RuntimeError(self.failure)
        self._http.start()
        log.info("Metrics at %s/metrics", self._http.url)
        for loop in (self._loop_lag.run, self._tick, self._commit, self._show, self._watch_topics, self._tidy):
            self.add_future(self._guarded(loop))

    async def stop(self) -> None:
        """Called by Faust on SIGTERM, SIGINT or a crash: commit, leave, and be gone in time whatever happens."""
        if not self._stopping:
            self._stopping = True
            self.health.not_ready("stopping")
            self._watchdog()
            if self.failure is None:
                await self._let_go(timeout=self.settings.shutdown_timeout / 2000)
        await super().stop()

    async def on_stop(self) -> None:
        """Called by Faust at the end."""
        await super().on_stop()
        await self._guarantee.close()
        self._http.stop()

    def fail(self, sentence: str, cause: BaseException | None = None) -> None:
        """End the worker: nothing more is committed, the sentence says why and what to do."""
        if self.failure is None:
            self.failure = sentence
            self.tasks, self.readers = {}, {}
            log.critical("%s", sentence, exc_info=None if isinstance(cause, UserError) else cause)
            last_failure.note(self.settings.data_dir, cause, self.clock())
            self._watchdog()
            self.loop.call_soon_threadsafe(self.end, RuntimeError(sentence))

    def end(self, error: RuntimeError) -> None:
        """How a failed worker is ended: by Faust's crash, unless who runs it has a quieter way."""
        asyncio.ensure_future(self.crash(error))  # noqa: RUF006 - it outlives everybody who could hold it

    def _watchdog(self) -> None:
        def end() -> None:
            log.error("Shutting down took longer than LIFECYCLE_SHUTDOWN_TIMEOUT: leaving as it is.")
            logging.shutdown()
            os._exit(EXIT_FORCED if self.failure or self._working() else 0)

        timer = threading.Timer(self.settings.shutdown_timeout / 1000, end)
        timer.daemon = True
        timer.start()

    async def _guarded(self, loop: Callable[[], Any]) -> None:
        try:
            await loop()
        except asyncio.CancelledError:
            raise
        except UserError as exc:
            self.fail(str(exc), exc)
        except Exception as exc:
            self.fail(f"{type(exc).__name__}: {exc}", exc)

    # -- assignment (streams.transport.driver.Owner)

    def on_assigned(self, sources: frozenset[TP]) -> None:
        """A rebalance ends: these sources are ours."""
        self._rebalancing = False
        if self.failure is None:
            numbers, readers = self._work_of(sources)
            self._guarantee.assigned([*numbers, *(name_of(source, tp.partition) for tp, source in readers.items())])

    @property
    def task_topics(self) -> dict[int, str]:
        """What the tasks read, by rank: `read_topics` without those of sources that are `independent`."""
        return {rank: topic for rank, topic in self.read_topics.items() if rank not in self.independent}

    def _work_of(self, sources: Collection[TP]) -> tuple[list[int], dict[TP, Source]]:
        """The numbers of the tasks, and the partitions of the readers, that come of an assignment."""
        read_by_tasks = self.task_topics.values()
        apart = {self.source_topics[source]: source for source in self.independent}
        numbers = {tp.partition for tp in sources if tp.topic in read_by_tasks}
        return sorted(numbers), {tp: apart[tp.topic] for tp in sorted(sources) if tp.topic in apart}

    async def fenced(self) -> None:
        """Called by recovery before it reads anything. Does not return if the worker ends over it."""
        try:
            await self._guarantee.fenced()
        except Exception as exc:
            self.fail(str(exc) or repr(exc), exc)
            await asyncio.Event().wait()

    async def on_sources_assigned(self, sources: frozenset[TP]) -> None:
        """The table is recovered: read where the last commit left off, and begin."""
        try:
            await self._begin(sources)
        except UserError as fault:
            self.fail(str(fault), fault)

    async def _begin(self, sources: frozenset[TP]) -> None:
        consumer, rebalances = self.kafka, self._rebalances
        consumer.fetches.clear()
        await patiently(self._check_topic_ids)
        await patiently(self._count_partitions)
        await self.fenced()  # again: what is committed is final only then
        numbers, apart = self._work_of(sources)
        heard = self._heard_of(numbers)
        firsts = {TP(topic, 0) for source, topic in self.source_topics.items() if source not in self.independent}
        asked = sources | heard | self._formerly_of(numbers) | firsts
        committed = await patiently(consumer.committed_offsets, asked)
        for first in firsts:
            if first in committed and (mark := decode_metadata(committed[first].metadata)) and mark.reader:
                raise WasApart(first.topic, self.settings.partitions)
        for _ in range(OFFSET_ATTEMPTS):
            lost = [tp for tp in sources | heard if tp not in committed and (tp in heard or self._had_offset(tp))]
            if not lost:
                break
            await asyncio.sleep(1.0)  # the sentence makes people set offsets, so ask again before it is said
            committed = await patiently(consumer.committed_offsets, asked)
        else:
            raise NoOffset(lost[0])
        fresh = [tp for tp in sources if tp not in committed]
        earliest = await patiently(consumer.earliest_offsets, *fresh) if fresh else {}
        starts = {tp: committed[tp].offset if tp in committed else earliest[tp] for tp in sources}
        metadata = {tp: offset.metadata for tp, offset in committed.items()}
        if self._taken_away(rebalances):
            return  # these sources were ours: recovery asks again for those that are
        tasks = {}
        for number in numbers:
            of_task = {rank: TP(topic, number) for rank, topic in self.read_topics.items()}
            if missing := [topic for topic in self.task_topics.values() if TP(topic, number) not in sources]:
                raise UserError(
                    f"Partition {number} of {missing[0]} was not assigned together with the other source's: give all "
                    "input topics the same number of partitions, and all workers the same settings."
                )
            positions = {rank: starts[tp] for rank, tp in of_task.items() if rank not in self.independent}
            texts = {rank: metadata[tp] for rank, tp in of_task.items() if tp in metadata}
            tasks[number] = self._new_task(number, positions, texts)
        readers = {tp: self._new_reader(source, tp, starts[tp], metadata.get(tp, "")) for tp, source in apart.items()}
        for tp, offset in starts.items():
            await consumer.seek_source(tp, offset)
        if self._taken_away(rebalances):
            return
        self._paused.clear()
        self._guarantee.begin(
            {TP(tp.topic, tp.partition): (o.offset, o.metadata) for tp, o in committed.items() if tp in sources},
            first={tp: (offset, "") for tp, offset in earliest.items()},
        )
        self.tasks, self.readers = tasks, readers
        self.metrics.assigned(tasks.keys(), readers.keys())
        self.health.recovered()
        self.add_future(self.committer.commit(self._working()))  # append times tell whether the clock can be trusted
        log.info("Processing partitions %s", numbers)
        if readers:
            log.info("Reading independently: %s", ", ".join(f"{tp.topic}/{tp.partition}" for tp in readers))

    def _taken_away(self, rebalances: int) -> bool:
        """Whether the worker ends, or a rebalance has begun since there were so many."""
        return self.failure is not None or self._rebalancing or self._rebalances != rebalances

    def _working(self) -> list[PartitionTask | SourceReader]:
        """All that processes and commits at present."""
        return [*self.tasks.values(), *self.readers.values()]

    def _had_offset(self, tp: TP) -> bool:
        """Whether the state is such that an offset of this partition must once have been committed."""
        marker = decode_marker(self.table.data.partition(tp.partition).marker)
        if marker is None or tp.topic == self.settings.erasures_topic:  # what is read of it again is known
            return False
        source = next((source for source, topic in self.source_topics.items() if topic == tp.topic), None)
        # What comes of a source that is read independently, `_heard_of` knows.
        return marker.arrivals is not None if source is None else source not in self.independent

    def _heard_of(self, numbers: Collection[int]) -> frozenset[TP]:
        """The partitions of topics that are read independently of which these tasks have had something: an offset of
        each must once have been committed."""
        heard = set()
        for number in numbers:
            marker = decode_marker(self.table.data.partition(number).marker)
            for mark in [] if marker is None or marker.arrivals is None else marker.arrivals.origins:
                if mark.taken >= 0 or mark.progress is not None:
                    heard.add(mark.number)
        return frozenset(
            TP(self.source_topics[source], partition)
            for source in self.independent
            for partition in range(self._partitions[source])
            if number_of(source, partition) in heard
        )

    def _formerly_of(self, numbers: Collection[int]) -> frozenset[TP]:
        """What these tasks read themselves before a topic was read independently, if they did."""
        return frozenset(
            TP(self.source_topics[source], number)
            for source in self.independent
            for number in numbers
            if number < self._partitions[source]
        )

    async def on_sources_revoked(self) -> None:
        """A rebalance begins."""
        self._rebalancing, self._rebalances = True, self._rebalances + 1
        self.health.consumer_rests()
        if self.failure is None and not self._stopping:
            await self._let_go(timeout=self.settings.rebalance_timeout / 1000)

    async def _let_go(self, timeout: float) -> None:
        working = self._working()
        self.tasks, self.readers = {}, {}
        for one in working:
            one.closed = True
        self.metrics.assigned(())
        if working:
            try:
                await asyncio.wait_for(self.committer.commit(working, leaving=True), timeout)
            except TimeoutError:
                self.fail("The last commit did not come through in time: is a broker reachable? The work since the "
                          "one before will be done again.")  # fmt: skip

    def _new_task(self, number: int, positions: Mapping[int, int], metadata: Mapping[int, str]) -> PartitionTask:
        """`positions` and `metadata` are by rank, the latter also of what the task reads no more."""
        state = self.table.data.take(number)
        assert isinstance(state, State)
        marks = {rank: mark for rank, text in metadata.items() if (mark := decode_metadata(text))}
        for rank, mark in marks.items():
            self._same_topic(self.read_topics[rank], mark.topic_id)
            self._same_topic(topics.changelog_topic(self.settings), mark.changelog_id)
        marks = {rank: mark for rank, mark in marks.items() if not mark.reader}
        profiles, marker = state.profiles, decode_marker(state.marker)
        if marker is not None:
            profiles.commit = max(profiles.commit, marker.commit)
            if marker.salt and marker.salt != check_of(self.settings.salt_of_marks):
                raise OtherSalt
        committed = min((mark.commit for mark in marks.values()), default=0)
        if marker is not None and not marks:
            # The broker keeps no metadata. The flush that this marker ends is complete; whether the outputs of its
            # deadlines left is not known, so they leave again, with the same ids.
            marks = {int(source): source_mark(marker, source) for source in Source}
            committed = marker.commit - 1
        if committed > profiles.commit:
            raise StateBehind(self.changelog_topic, number, committed, profiles.commit)
        started_at = min((mark.started_at for mark in marks.values()), default=self.clock())
        emit_after = self.settings.emit_after
        unsent, ended = profiles.unsent(committed), profiles.ended(committed)
        engine = PartitionEngine(
            self._lifecycle,
            partition=number,
            own=[source for source in Source if source not in self.independent],
            sources=self.settings.source_specs,
            emission=Emission(
                emit_after=emit_after if isinstance(emit_after, int) else started_at if emit_after == "start" else None,
                max_delay=self.settings.max_emit_delay,
            ),
            state=profiles,
            positions={source: positions[source] for source in Source if source in positions},
            marks={source: marks[source].mark for source in Source if source in marks},
            commit=committed,
            step=STEP,
            origins=[
                (source, other)
                for source in self.settings.origins
                for other in range(self._partitions[source])
                if other != number or source in self.independent
            ],
            arrivals=Arrivals(
                positions.get(FORWARDED, 0),
                [] if marker is None or marker.arrivals is None else marker.arrivals.origins,
                [] if marker is None or marker.arrivals is None else marker.arrivals.numbers,
            ),
            erasures=positions.get(ERASURES, 0),
            tasks=self.settings.partitions if self.settings.linking else 0,
            flushed=0 if marker is None else marker.commit,
        )
        task = PartitionTask(
            number,
            engine,
            state,
            self._lifecycle,
            settings=self.settings,
            started_at=started_at,
            deliver=partial(self._guarantee.delivery, number),
            on_written=partial(self.table.data.set_persisted_offset, self.table.changelog_tp(number)),
            metrics=self.metrics,
            clock=self.clock,
            independent={source: self._partitions[source] for source in self.independent},
            topic_ids=self._topic_ids,
        )
        task.send_again(unsent, ended)
        return task

    def _new_reader(self, source: Source, tp: TP, position: int, metadata: str) -> SourceReader:
        mark = decode_metadata(metadata)
        if mark is not None:
            self._same_topic(tp.topic, mark.topic_id)
        playbook = self._lifecycle.playbook
        return SourceReader(
            source,
            tp.partition,
            decoder=self.settings.decoders(playbook.policy.currency, playbook.properties)[source],
            settings=self.settings,
            spec=self.settings.source_specs[source],
            position=position,
            mark=Mark() if mark is None else mark.mark,
            deliver=partial(self._guarantee.delivery, name_of(source, tp.partition)),
            slowest_anywhere=self._slowest_anywhere,
            metrics=self.metrics,
            clock=self.clock,
            topic_ids=self._topic_ids,
        )

    def _slowest_anywhere(self) -> int | None:
        """The least progress of any source, as far as this worker knows. Any of its tasks tells what all hear."""
        known = self._slowest
        for task in self.tasks.values():
            heard = task.engine.slowest_anywhere()
            return None if heard is None or known is None else min(heard, known)
        return known

    async def _check_topic_ids(self) -> None:
        """Raises `TopicAnew` if a topic is not the one that it was."""
        names = {*self.read_topics.values(), topics.changelog_topic(self.settings)}
        for topic, topic_id in (await self.kafka.topic_ids(names)).items():
            self._same_topic(topic, topic_id)
            self._topic_ids[topic] = topic_id

    async def _count_partitions(self) -> None:
        """How many partitions the topics of the sources have now. Raises `UserError` where they need another worker."""
        counts = await self.kafka.partition_counts(self.source_topics.values())
        for source, topic in self.source_topics.items():
            count, tasks = counts[topic], self.settings.partitions
            if source in self.independent and count == tasks:
                raise WasApart(topic, tasks)
            if source not in self.independent and count != tasks:
                raise CountChanged(topic, count, tasks)
            self._partitions[source] = count

    async def _look_for_slowest(self) -> None:
        """Of what a task reads for itself alone it tells nobody; and who has no task, hears of nothing."""
        unheard = [s for s in Source if not self.tasks or s not in self.settings.origins]
        wanted = [TP(self.source_topics[source], n) for source in unheard for n in range(self._partitions[source])]
        try:
            committed = await self.kafka.committed_offsets(wanted) if wanted else {}
        except (KafkaError, TimeoutError) as exc:
            log.warning("The group's commits cannot be read: %r", exc)
            return
        marks = [decode_metadata(committed[tp].metadata) if tp in committed else None for tp in wanted]
        self._slowest = slowest([None if mark is None else mark.mark for mark in marks])

    async def _check_playbooks(self) -> None:
        """Whether the last commits of the whole group were made under this worker's playbook."""
        committed = await self.kafka.committed_offsets(
            [TP(topic, n) for source, topic in self.source_topics.items() for n in range(self._partitions[source])]
        )
        marks = [(tp.partition, decode_metadata(offset.metadata)) for tp, offset in committed.items()]
        self._agreement.saw((number, mark.playbook) for number, mark in marks if mark is not None)
        self.metrics.playbook_disagreement(self._agreement.partitions_of_others)

    def _same_topic(self, topic: str, topic_id: str) -> None:
        known = self._topic_ids.get(topic, "")
        if topic_id and known and topic_id != known:
            raise TopicAnew(topic)

    @property
    def kafka(self) -> driver.Consumer:
        """The consumer, as what it is."""
        assert isinstance(self.consumer, driver.Consumer)
        return self.consumer

    def kafka_producer(self) -> Any:
        """The aiokafka producer that knows no transactions."""
        assert isinstance(self.producer, driver.Producer)
        return self.producer.client

    # -- work

    async def process(self, rank: int, message: Any, polled: driver.Polled) -> None:
        """Called by the agents with what each poll brought of a topic that is read."""
        try:
            for tp, chunk in polled:
                one = self._reads(tp, rank)
                if one is None or message.generation_id != self.consumer_generation_id:
                    return  # from before a rebalance: it is read again
                self._hand_over(one, rank, tp, chunk)
                if len(chunk) > SMALL_CHUNK:
                    await one.flush()
                if one.must_commit or one.unfinished:
                    await self._go_on([one])
            for one in self._working():  # what is little leaves together
                await one.flush()
        except asyncio.CancelledError:
            raise
        except Exception as exc:
            self.fail(str(exc) or repr(exc), exc)

    def _hand_over(self, one: PartitionTask | SourceReader, rank: int, tp: TP, chunk: Any) -> None:
        if rank == FORWARDED:
            assert not isinstance(one, SourceReader)
            one.arrive(chunk)
            return
        if rank == ERASURES:
            assert not isinstance(one, SourceReader)
            one.erase(chunk)
            return
        source = Source(rank)
        one.process(source, chunk)
        if one.full(source) and tp not in self._paused:
            self._paused[tp] = source
            self.consumer.pause_partitions({tp})

    async def _tick(self) -> None:
        while not self.should_stop:
            await asyncio.sleep(TICK_S)
            if not self.kafka.flow_active:
                self.health.consumer_rests()
            for tp, offset in self.kafka.out_of_range.items():
                raise OutOfRange(tp, offset)
            for tp, ahead in self.kafka.ahead.items():
                if self.clock() - ahead.since > ELECTION_MS:
                    raise OutOfRange(tp, ahead.position)
            jumped = self._clock_watch.jumped()
            if jumped:
                self.kafka.fetches.clear()
            working = self._working()
            if jumped:
                for one in working:
                    one.trusted = False
            await self._advance(working)
            await self._go_on(working)
            for tp, source in list(self._paused.items()):
                paused = self._reads(tp, source)
                if paused is not None and paused.may_resume(source):
                    del self._paused[tp]
                    self.consumer.resume_partitions({tp})

    def _reads(self, tp: TP, rank: int) -> PartitionTask | SourceReader | None:
        """Who reads a partition of a source, or of the activity topic."""
        return self.readers.get(tp) if rank in self.independent else self.tasks.get(tp.partition)

    async def _advance(self, working: Collection[PartitionTask | SourceReader]) -> None:
        silent = self._silence.silent(self.clock())
        for one in working:
            one.advance(self._fetches(one), silent)
        for one in working:
            await one.flush()

    async def _go_on(self, working: Collection[PartitionTask | SourceReader]) -> None:
        """What is too much for one step goes on here: between the steps others get a turn, and commits come early."""
        while True:
            if any(one.must_commit for one in working):
                await self.committer.commit(self._working())
            working = [one for one in working if one.unfinished and not one.closed]
            if not working:
                return
            await asyncio.sleep(0)
            await self._advance(working)

    async def _commit(self) -> None:
        while not self.should_stop:
            await asyncio.sleep(self.settings.commit_interval / 1000)
            await self.committer.commit(self._working())

    def _ask_for_erasure(self, person: str, identified: bool) -> str:
        """Called in a thread of HTTP (`Erasing.ask`)."""

        async def ask() -> str:
            return await erasing.ask(self.kafka_producer(), self.settings, person, identified, self.clock())

        asked = asyncio.run_coroutine_threadsafe(ask(), self.loop)
        try:
            return asked.result(ERASURE_TIMEOUT_S)
        finally:
            asked.cancel()

    async def _tidy(self) -> None:
        while not self.should_stop:
            await asyncio.sleep(TIDY_S)
            for number in list(self.table.data.partitions):
                while (state := self.table.data.partitions.get(number)) is not None and state.tidy():
                    await asyncio.sleep(0)

    async def _show(self) -> None:
        while not self.should_stop:
            await asyncio.sleep(FACTS_S)
            lag: dict[tuple[str, int], int] = {}
            for task in self.tasks.values():
                self.metrics.task(task.facts(self._fetches(task)))
            for tp, reader in self.readers.items():
                self.metrics.reader(tp.topic, reader.facts())
            for one in self._working():
                lag |= one.lag(self._fetches(one))
            lag |= await self._lag_of_paused()
            self.metrics.consumer_lag(lag)
            if skews := [skew for one in self._working() if (skew := one.skew) is not None]:
                self._judge_clock(max(skews, key=abs))
            if self.readers:
                await self._look_for_slowest()
            recovery: Any = self.tables
            remaining = recovery.recovery.active_remaining() if self.in_recovery else {}
            self._show_recovery({tp.partition: n for tp, n in remaining.items() if n > 0})
            if self._recovery_watch.stuck():  # raises when that has not helped
                self.metrics.recovery_restarted()
                await recovery.recovery.read_again()
            await self._watch_silence()

    async def _watch_topics(self) -> None:
        while not self.should_stop:
            await asyncio.sleep(TOPIC_IDS_S)
            try:
                if self._rebalances and not self._rebalancing:
                    await self.kafka.partition_counts(
                        self.source_topics.values()
                    )  # a rebalance follows if one has more
                if self.tasks or self.readers:
                    await self._check_topic_ids()
                    await self._check_playbooks()
            except (KafkaError, TimeoutError) as exc:
                log.debug("The ids of the topics, or the group's commits, cannot be read: %r", exc)

    def _show_recovery(self, remaining: Mapping[int, int]) -> None:
        self._recovery_watch.saw(remaining, self._answers(remaining))
        figures = self._recovery_watch.figures
        self.metrics.recovery_remaining(remaining, 0.0 if figures is None else figures.seconds_left)
        self.metrics.changelog_read(self.table.data.take_count())
        self.health.recovery(None if figures is None else figures._asdict())

    def _answers(self, partitions: Collection[int]) -> bool:
        """Whether the leaders of changelog partitions answered lately."""
        since = self.clock() - ANSWERED_MS
        fetches = [self.kafka.fetches.get(self.table.changelog_tp(number)) for number in partitions]
        return all(fetch is not None and fetch.sent_at >= since for fetch in fetches)

    async def _lag_of_paused(self) -> dict[tuple[str, int], int]:
        """A paused partition is not fetched, and so shows no end by itself."""
        if not self._paused:
            return {}
        ends = await self._ends(self._paused)
        return {
            (tp.topic, tp.partition): max(0, end - one.position(source))
            for tp, end in ends.items()
            if (source := self._paused.get(tp)) is not None and (one := self._reads(tp, source)) is not None
        }

    def _judge_clock(self, skew: int) -> None:
        self.metrics.clock_skew(skew / 1000)
        if abs(skew) <= MAX_SKEW_MS:
            self.health.clear("clock_skew")
        elif "clock_skew" not in self.health.reasons():
            self.health.not_ready("clock_skew")
            log.error(
                "This machine's clock is %+.0f s off the broker's: no deadline fires until they agree. Set the clocks "
                "(NTP) of this machine and of the brokers.",
                skew / 1000,
            )

    async def _watch_silence(self) -> None:
        for source in self._silence.due(self.clock()):
            tps = [TP(self.source_topics[source], n) for n in range(self._partitions[source])]
            if ends := await self._ends(tps):
                self._silence.saw(source, sum(ends.values()), self.clock())
        self.metrics.silent_sources([LABELS[source] for source in self._silence.silent(self.clock())])

    async def _ends(self, tps: Collection[TP]) -> Mapping[TP, int]:
        """Where partitions end; nothing while the broker does not say, which is no reason to end."""
        try:
            return await self.kafka.highwaters(*tps)
        except KafkaError as exc:
            log.warning("The ends of %s cannot be read: %r", sorted({tp.topic for tp in tps}), exc)
            return {}

    def _fetches(self, one: PartitionTask | SourceReader) -> dict[int, Fetch]:
        fetches = self.kafka.fetches
        return {rank: fetch for rank, tp in one.read.items() if (fetch := fetches.get(tp))}
