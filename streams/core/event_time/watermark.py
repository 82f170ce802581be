"""Source progress: how far event time has come by the records of a source, and by the proof that it is caught up.

A policy object; the caller passes the time. Its rule: **no fresh fetch, no progress**. An outage of the broker, of a
partition's leader or of this process proves no silence, so no deadline fires because of one.
"""

from __future__ import annotations

from streams.core.model.event import Event
from streams.core.model.policy import HOUR, SECOND
from streams.core.model.sources import Fetch, SourceSpec, StoredProgress

BACKFILL_LAG = HOUR
"""A source is being backfilled if its last record is older than its Kafka timestamp by more than this."""
FETCH_FRESH = 5 * SECOND
"""Time for which a fetch that showed the end of a source proves that it is caught up *now*. A consumer at the end of a
partition fetches twice a second, so a gap of this size means that the broker or this process was away."""


READ_AT_ONCE = SECOND
"""A source that was caught up this lately, and is being read at the moment, is not reported as behind. Other tasks
would wait for it until the next report, although it is read within milliseconds."""


class CaughtUp:
    """The time as of which a source or a stream held nothing more, as it is reported to other tasks."""

    __slots__ = ("_at", "_found_at")

    def __init__(self) -> None:
        self._at: int | None = None
        self._found_at = 0

    def observe(self, at: int | None, now: int) -> None:
        """Note an observation at `now`: it held nothing more as of `at`, or may hold more (None)."""
        if at is not None:
            self._at, self._found_at = at, now

    def reported(self, now: int) -> int | None:
        """Return the time to report; None if it may have held more for longer than `READ_AT_ONCE`."""
        return self._at if 0 <= now - self._found_at <= READ_AT_ONCE else None

    def forget(self) -> None:
        """Report nothing until the next observation: records came that are older than the silence allowed for."""
        self._at = None


class SourceProgress:
    """The progress of one source of one partition task. Used by the engine, one per source."""

    __slots__ = ("_caught_up", "_progress", "backfilling", "fetch", "last_record_at", "newest", "position", "spec")

    def __init__(self, spec: SourceSpec, position: int, stored: StoredProgress = StoredProgress()) -> None:
        self.spec = spec
        self.position = position
        """The next offset: all records before it were handed to the engine."""
        self.fetch: Fetch | None = None
        self.newest: int | None = None
        """The largest event time shown since the start."""
        self.backfilling = stored.backfilling
        self.last_record_at = stored.last_record_at
        self._progress = stored.progress
        self._caught_up = CaughtUp()

    def observe(self, at: int, timestamp: int, now: int) -> None:
        """Note a valid record that was handed over at `now`, with its event time and its Kafka timestamp."""
        if self.newest is None or at > self.newest:
            self.newest = at
        self.backfilling = timestamp - at > BACKFILL_LAG
        self.last_record_at = now
        if self.backfilling:
            self._caught_up.forget()

    def observe_all(self, records: list[Event], now: int) -> None:
        """Do the same as `observe` for each record, in their order."""
        if not records:
            return
        last = records[-1]
        newest, backfilled = last.at if self.newest is None else self.newest, False
        for record in records:
            at = record.at
            if at > newest:
                newest = at
            if record.timestamp - at > BACKFILL_LAG:
                backfilled = True
        self.newest = newest
        if backfilled:
            self._caught_up.forget()
        self.observe(last.at, last.timestamp, now)

    def observe_fetch(self, fetch: Fetch) -> None:
        """Note a successful fetch. One that was sent before the last known one is dropped."""
        if self.fetch is None or fetch.sent_at >= self.fetch.sent_at:
            self.fetch = fetch

    def distrust(self) -> None:
        """Drop the proof of earlier fetches: only a fetch from now on shows an end."""
        self.fetch = None
        self._caught_up.forget()

    def caught_up_at(self) -> int | None:
        """Return the time as of which the source is known to have held nothing more; None if it is not known."""
        fetch = self.fetch
        if fetch is None or self.position < fetch.end:
            return None
        if self.backfilling and fetch.sent_at - self.last_record_at < self.spec.backfill_idle:
            return None
        return fetch.sent_at

    def is_caught_up(self, now: int) -> bool:
        """Return True if a fresh fetch proves that the source holds nothing more at present."""
        at = self.caught_up_at()
        return at is not None and now - at <= FETCH_FRESH

    def reported_caught_up_at(self, now: int) -> int | None:
        """Return `caught_up_at` as it is reported to other tasks: records that are being read at the moment do not
        count. The engine also calls it after each read, so that the time is noted."""
        self._caught_up.observe(self.caught_up_at(), now)
        return self._caught_up.reported(now)

    def progress(self, now: int, *, silence_counts: bool = True) -> int | None:
        """Return the event time up to which the source is known, None if it never showed anything. Never goes back.

        `silence_counts` is False while the whole topic has been silent for longer than its idle timeout: then its
        silence proves nothing.
        """
        progress = self._progress
        if self.newest is not None:
            shown = min(self.newest, now)
            if progress is None or shown > progress:
                progress = shown
        caught_up_at = self.caught_up_at() if silence_counts else None
        if caught_up_at is not None and (progress is None or caught_up_at - self.spec.delay > progress):
            progress = caught_up_at - self.spec.delay
        self._progress = progress
        return progress

    def complete_up_to(self, now: int, *, clock_trusted: bool) -> int | None:
        """Return the time up to which all records have come, except late ones; None if it is not known.

        It is beyond `progress` while the source is silent beyond its idle timeout: then silence proves nothing about
        customers, but still shows that there is nothing to read.
        """
        progress = self._progress
        caught_up_at = self.caught_up_at() if clock_trusted else None
        if caught_up_at is not None and (progress is None or caught_up_at - self.spec.delay > progress):
            return caught_up_at - self.spec.delay
        return progress

    @property
    def reached(self) -> int | None:
        """The progress as of the last call of `progress`. Reading it judges no silence."""
        return self._progress

    def stored(self, waiting: int | None) -> StoredProgress:
        """Return the progress to store with the committed offset. `waiting`: time of the first record not applied yet.

        Such a record is read again after a restart; until then the source has not come further than to it.
        """
        progress = self._progress
        if waiting is not None and progress is not None:
            progress = min(progress, waiting)
        return StoredProgress(progress, self.backfilling, self.last_record_at)
