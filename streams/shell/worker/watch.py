"""What a worker looks at beside its work: how far it is, and whether its clock, its topics, its peers and its recovery
are as they should be. It shows that in metrics, readiness and the log.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from streams.shell.worker.application import App

log = logging.getLogger(__name__)

FACTS_S = 1.0
TOPIC_IDS_S = 5.0
"""How often it is asked whether the topics are still the ones they were. Tasks wait from then on for what comes of new
partitions: what is put there meanwhile is not late yet, with the default delay and lateness."""
ANSWERED_MS = 5_000


class Watchdog:
    """Used by the app: loops that run as long as it does."""

    def __init__(self, app: App, playbook: Playbook) -> None:
        settings = app.settings
        self.silence = TopicSilence(
            {Source.CLICKSTREAM: settings.clickstream_idle_timeout, Source.ORDERS: settings.orders_idle_timeout}
        )
        self._app = app
        self._agreement = PlaybookAgreement(playbook, settings.identity_resolution, settings.event_time_ordering)
        self._recovery_watch = RecoveryProgress()
        self._slowest: int | None = None
        """The least progress of the sources that this worker's tasks do not hear of; see `slowest`."""

    async def show(self) -> None:
        """Once a second, for metrics and readiness. Raises `RecoveryStuck`."""
        app = self._app
        while not app.should_stop:
            await asyncio.sleep(FACTS_S)
            lag: dict[tuple[str, int], int] = {}
            for task in app.tasks.values():
                app.metrics.task(task.readings(app.fetches_of(task)))
            for tp, reader in app.repartition_tasks.items():
                app.metrics.repartition_task(tp.topic, reader.readings())
            for one in app.working():
                lag |= one.lag(app.fetches_of(one))
            lag |= await self.lag_of_paused()
            app.metrics.consumer_lag(lag)
            if skews := [skew for one in app.working() if (skew := one.skew) is not None]:
                self._judge_clock(max(skews, key=abs))
            if app.repartition_tasks:
                await self.look_for_slowest()
            recovery: Any = app.tables
            remaining = recovery.recovery.active_remaining() if app.in_recovery else {}
            changelog = app.changelog_topic
            self._show_recovery({tp.partition: n for tp, n in remaining.items() if n > 0 and tp.topic == changelog})
            if self._recovery_watch.stuck():  # raises when that has not helped
                app.metrics.recovery_restarted()
                await recovery.recovery.read_again()
            await self._watch_silence()

    async def look_at_topics(self) -> None:
        """Whether they are still the ones they were, and have as many partitions. Raises what then ends a worker."""
        app = self._app
        while not app.should_stop:
            await asyncio.sleep(TOPIC_IDS_S)
            try:
                if app.rebalances and not app.in_rebalance:
                    # A rebalance follows if one has more.
                    await app.kafka.partition_counts(app.source_topics.values())
                if app.tasks or app.repartition_tasks:
                    await app.check_topic_ids()
                    await self._check_playbooks()
            except (KafkaError, TimeoutError) as exc:
                log.debug("The ids of the topics, or the group's commits, cannot be read: %r", exc)

    async def look_for_slowest(self) -> None:
        """Of what a task reads for itself alone it tells nobody; and who has no task, hears of nothing."""
        app = self._app
        unheard = [s for s in Source if not app.tasks or s not in app.settings.upstream_sources]
        wanted = [TP(app.source_topics[source], n) for source in unheard for n in range(app.partition_counts[source])]
        try:
            committed = await app.kafka.committed_offsets(wanted) if wanted else {}
        except (KafkaError, TimeoutError) as exc:
            log.warning("The group's commits cannot be read: %r", exc)
            return
        marks = [decode_metadata(committed[tp].metadata) if tp in committed else None for tp in wanted]
        self._slowest = slowest([None if mark is None else mark.progress for mark in marks])

    def slowest_anywhere(self) -> int | None:
        """The least progress of any source, as far as this worker knows. Any of its tasks tells what all hear."""
        app = self._app
        known = self._slowest
        for task in app.tasks.values():
            heard = task.engine.slowest_anywhere()
            return None if heard is None or known is None else min(heard, known)
        return known

    async def _check_playbooks(self) -> None:
        """Whether the last commits of the whole group were made under this worker's playbook."""
        app = self._app
        committed = await app.kafka.committed_offsets(
            [TP(topic, n) for source, topic in app.source_topics.items() for n in range(app.partition_counts[source])]
        )
        marks = [(tp.partition, decode_metadata(offset.metadata)) for tp, offset in committed.items()]
        self._agreement.observe((number, mark.playbook) for number, mark in marks if mark is not None)
        app.metrics.playbook_disagreement(self._agreement.partitions_of_others)

    def _show_recovery(self, remaining: Mapping[int, int]) -> None:
        self._recovery_watch.observe(remaining, self._answers(remaining))
        figures = self._recovery_watch.figures
        self._app.metrics.recovery_remaining(remaining, 0.0 if figures is None else figures.seconds_left)
        self._app.metrics.changelog_read(self._app.table.data.take_count())
        self._app.health.recovery(None if figures is None else figures._asdict())

    def _answers(self, partitions: Collection[int]) -> bool:
        """Whether the leaders of changelog partitions answered lately."""
        since = self._app.clock() - ANSWERED_MS
        fetches = [self._app.kafka.fetches.get(self._app.table.changelog_tp(number)) for number in partitions]
        return all(fetch is not None and fetch.sent_at >= since for fetch in fetches)

    async def lag_of_paused(self) -> dict[tuple[str, int], int]:
        """A paused partition is not fetched, and so shows no end by itself."""
        app = self._app
        if not app.paused:
            return {}
        ends = await self._ends(app.paused)
        return {
            (tp.topic, tp.partition): max(0, end - one.position(source))
            for tp, end in ends.items()
            if (source := app.paused.get(tp)) is not None and (one := app.reads(tp, source)) is not None
        }

    def _judge_clock(self, skew: int) -> None:
        self._app.metrics.clock_skew(skew / 1000)
        if abs(skew) <= MAX_SKEW_MS:
            self._app.health.clear("clock_skew")
        elif "clock_skew" not in self._app.health.reasons():
            self._app.health.not_ready("clock_skew")
            log.error(
                "This machine's clock is %+.0f s off the broker's: no deadline fires until they agree. Set the clocks "
                "(NTP) of this machine and of the brokers.",
                skew / 1000,
            )

    async def look_for_silence(self) -> None:
        """Where the topics end that have a `idle_timeout`, if it is time. Raises what aiokafka does."""
        app = self._app
        for source in self.silence.due(app.clock()):
            tps = [TP(app.source_topics[source], n) for n in range(app.partition_counts[source])]
            ends = await app.kafka.highwaters(*tps)
            since = None if self.silence.knows(source) else await self._last_record_at(ends)
            self.silence.observe(source, sum(ends.values()), app.clock(), since)

    async def _watch_silence(self) -> None:
        try:
            await self.look_for_silence()
        except (KafkaError, TimeoutError) as exc:
            log.warning("The ends of topics cannot be read: %r", exc)
        self._app.metrics.silent_sources([LABELS[source] for source in self.silence.silent(self._app.clock())])

    async def _last_record_at(self, ends: Mapping[TP, int]) -> int | None:
        """When anybody in the group had the last record of a topic that ends there. None: that is not known, or there
        are some that nobody has had."""
        committed = await self._app.kafka.committed_offsets(ends)
        if any(tp not in committed or committed[tp].offset < end for tp, end in ends.items() if end):
            return None
        marks = [decode_metadata(offset.metadata) for offset in committed.values()]
        return max([mark.progress.last_record_at for mark in marks if mark is not None], default=0) or None

    async def _ends(self, tps: Collection[TP]) -> Mapping[TP, int]:
        """Where partitions end; nothing while the broker does not say, which is no reason to end."""
        try:
            return await self._app.kafka.highwaters(*tps)
        except KafkaError as exc:
            log.warning("The ends of %s cannot be read: %r", sorted({tp.topic for tp in tps}), exc)
            return {}
