"""The checks of a worker beside its work, shown in metrics, readiness and the log: its progress, clock and recovery,
its topics, and the playbooks of the other workers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping

from aiokafka.errors import KafkaError
from faust.types import TP

from streams.core.engine.partition_engine import LABELS
from streams.core.lifecycle.playbook import Playbook
from streams.core.model.event import Source
from streams.shell.clock import MAX_SKEW_MS
from streams.shell.commit.agreement import PlaybookAgreement
from streams.shell.commit.metadata import decode_metadata
from streams.shell.monitoring.recovery_progress import RecoveryProgress
from streams.shell.monitoring.slowest_partition import slowest
from streams.shell.monitoring.topic_silence import TopicSilence
from streams.shell.worker.context import WorkerContext

log = logging.getLogger(__name__)

SHOW_S = 1.0
TOPIC_IDS_S = 5.0
"""Seconds between two checks of topic ids and partition counts. After the check that finds added partitions, tasks wait
for the records of these. Records produced there earlier are not late by then, with the default delay and lateness."""
ANSWERED_MS = 5_000


class Watchdog:
    """Loops that run as long as the worker does."""

    def __init__(self, context: WorkerContext, playbook: Playbook) -> None:
        settings = context.settings
        self.silence = TopicSilence(
            {Source.CLICKSTREAM: settings.clickstream_idle_timeout, Source.ORDERS: settings.orders_idle_timeout}
        )
        self._context = context
        self._agreement = PlaybookAgreement(playbook, settings.identity_resolution, settings.event_time_ordering)
        self._recovery = RecoveryProgress()
        self._slowest: int | None = None
        """Least progress of the sources that no task reports to this worker; see `slowest_anywhere`."""

    async def show(self) -> None:
        """Update metrics and readiness once a second. Raise `RecoveryStuck` if recovery does not go on."""
        context, tasks = self._context, self._context.tasks
        while not context.should_stop():
            await asyncio.sleep(SHOW_S)
            lag: dict[tuple[str, int], int] = {}
            for task in tasks.partitions.values():
                context.metrics.task(task.readings(context.fetches_of(task)))
            for tp, repartition_task in tasks.repartition.items():
                context.metrics.repartition_task(tp.topic, repartition_task.readings())
            for working in tasks.all():
                lag |= working.lag(context.fetches_of(working))
            lag |= await self.lag_of_paused()
            context.metrics.consumer_lag(lag)
            if skews := [skew for working in tasks.all() if (skew := working.skew) is not None]:
                self._judge_clock(max(skews, key=abs))
            if tasks.repartition:
                await self.find_slowest()
            changelog = context.topics.changelog
            remaining = context.recovery.remaining()
            self._show_recovery({tp.partition: n for tp, n in remaining.items() if n > 0 and tp.topic == changelog})
            if self._recovery.stuck():  # raises when reading again has not helped
                context.metrics.recovery_restarted()
                await context.recovery.read_again()
            await self._watch_silence()

    async def check_topics(self, at_work: Callable[[], bool]) -> None:
        """Check every 5 s that the topics are those of the start, and compare playbooks. Raise what ends a worker.

        `at_work` returns True if the group has assigned partitions, no rebalance is under way, and the worker does not
        end.
        """
        context = self._context
        while not context.should_stop():
            await asyncio.sleep(TOPIC_IDS_S)
            try:
                if at_work():
                    # The client begins a rebalance if a topic has more partitions.
                    await context.kafka.consumer.partition_counts(context.topics.of_source.values())
                if context.tasks.all():
                    await context.topics.check_ids(context.kafka.consumer)
                    await self._check_playbooks()
            except (KafkaError, TimeoutError) as exc:
                log.debug("The topic ids or the group's commits cannot be read: %r", exc)

    async def find_slowest(self) -> None:
        """Read from the group's commits the least progress of the sources that no task reports to this worker.

        A task does not report progress of a source that only it reads, and a worker without a partition task receives
        no reports.
        """
        context, topics = self._context, self._context.topics
        unreported = [s for s in Source if not context.tasks.partitions or s not in context.settings.upstream_sources]
        wanted = [tp for source in unreported for tp in topics.partitions_of(source)]
        try:
            committed = await context.kafka.consumer.committed_offsets(wanted) if wanted else {}
        except (KafkaError, TimeoutError) as exc:
            log.warning("The group's commits cannot be read: %r", exc)
            return
        stored = [decode_metadata(committed[tp].metadata) if tp in committed else None for tp in wanted]
        self._slowest = slowest([None if metadata is None else metadata.progress for metadata in stored])

    def slowest_anywhere(self) -> int | None:
        """Return the least progress of any source, as far as this worker knows.

        One task is enough: all tasks receive the same reports.
        """
        known = self._slowest
        for task in self._context.tasks.partitions.values():
            reported = task.engine.slowest_anywhere()
            return None if reported is None or known is None else min(reported, known)
        return known

    async def _check_playbooks(self) -> None:
        """Compare this worker's playbook with those of the last commits of the whole group."""
        context, topics = self._context, self._context.topics
        wanted = [tp for source in topics.of_source for tp in topics.partitions_of(source)]
        committed = await context.kafka.consumer.committed_offsets(wanted)
        stored = [(tp.partition, decode_metadata(offset.metadata)) for tp, offset in committed.items()]
        self._agreement.observe((number, metadata.playbook) for number, metadata in stored if metadata is not None)
        context.metrics.playbook_disagreement(self._agreement.partitions_of_others)

    def _show_recovery(self, remaining: Mapping[int, int]) -> None:
        context = self._context
        self._recovery.observe(remaining, self._leaders_answer(remaining))
        figures = self._recovery.figures
        context.metrics.recovery_remaining(remaining, 0.0 if figures is None else figures.seconds_left)
        context.metrics.changelog_read(context.states.data.take_count())
        context.health.recovery(None if figures is None else figures._asdict())

    def _leaders_answer(self, partitions: Collection[int]) -> bool:
        """Return True if the leaders of these changelog partitions have answered in the last 5 s."""
        context = self._context
        since = context.clock() - ANSWERED_MS
        fetches = [context.kafka.consumer.fetches.get(context.states.changelog_tp(number)) for number in partitions]
        return all(fetch is not None and fetch.sent_at >= since for fetch in fetches)

    async def lag_of_paused(self) -> dict[tuple[str, int], int]:
        """Return the lag of paused partitions: no fetch shows their ends, so the broker is asked."""
        tasks = self._context.tasks
        if not tasks.paused:
            return {}
        ends = await self._ends(tasks.paused)
        return {
            (tp.topic, tp.partition): max(0, end - task.position(source))
            for tp, end in ends.items()
            if (source := tasks.paused.get(tp)) is not None and (task := tasks.reader_of(tp, source)) is not None
        }

    def _judge_clock(self, skew: int) -> None:
        health = self._context.health
        self._context.metrics.clock_skew(skew / 1000)
        if abs(skew) <= MAX_SKEW_MS:
            health.clear("clock_skew")
        elif "clock_skew" not in health.reasons():
            health.not_ready("clock_skew")
            log.error(
                "This machine's clock is %+.0f s off the broker's: no deadline fires until they agree. Set the clocks "
                "(NTP) of this machine and of the brokers.",
                skew / 1000,
            )

    async def check_silence(self) -> None:
        """Ask for the ends of topics that have an idle timeout, if it is time. Raise what aiokafka raises."""
        context, topics = self._context, self._context.topics
        for source in self.silence.due(context.clock()):
            ends = await context.kafka.consumer.highwaters(*topics.partitions_of(source))
            since = None if self.silence.knows(source) else await self._last_record_at(ends)
            self.silence.observe(source, sum(ends.values()), context.clock(), since)

    async def _watch_silence(self) -> None:
        try:
            await self.check_silence()
        except (KafkaError, TimeoutError) as exc:
            log.warning("The ends of topics cannot be read: %r", exc)
        context = self._context
        context.metrics.silent_sources([LABELS[source] for source in self.silence.silent(context.clock())])

    async def _last_record_at(self, ends: Mapping[TP, int]) -> int | None:
        """Return when the group read the last record of a topic with these ends.

        None if that is not known, or if there are records that the group has not read.
        """
        committed = await self._context.kafka.consumer.committed_offsets(ends)
        if any(tp not in committed or committed[tp].offset < end for tp, end in ends.items() if end):
            return None
        stored = [decode_metadata(offset.metadata) for offset in committed.values()]
        return max([metadata.progress.last_record_at for metadata in stored if metadata is not None], default=0) or None

    async def _ends(self, tps: Collection[TP]) -> Mapping[TP, int]:
        """Return the end offsets of partitions; nothing while the broker is away, which must not end the worker."""
        try:
            return await self._context.kafka.consumer.highwaters(*tps)
        except KafkaError as exc:
            log.warning("The ends of %s cannot be read: %r", sorted({tp.topic for tp in tps}), exc)
            return {}
