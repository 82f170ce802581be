"""How far event time has come: what each source has shown, and what its silence proves.

A policy object that is told the time. The rule it stands on: **no fresh fetch, no progress**. An outage of the broker,
of a partition's leader or of this process invents no silence, so nothing that waits for silence fires because of one.
"""

from __future__ import annotations

from streams.core.model.event import Event
from streams.core.model.policy import HOUR, SECOND
from streams.core.model.sources import Fetch, SourceSpec, StoredProgress

BACKFILL_LAG = HOUR
"""A last record older than its Kafka timestamp by more than this says that the source is being backfilled."""
FETCH_FRESH = 5 * SECOND
"""How long a fetch that showed the end of a source is good for calling it drained *now*. A consumer at the end of a
partition fetches twice a second, so a gap of this size means that something is away."""


READ_AT_ONCE = SECOND
"""What was drained so lately and is read at the moment is not told to be behind: who heard that would wait until the
next report, over what is read in some milliseconds."""


class CaughtUp:
    """As of when a source or a stream held nothing more, as others are told."""

    __slots__ = ("_at", "_found_at")

    def __init__(self) -> None:
        self._at: int | None = None
        self._found_at = 0

    def observe(self, at: int | None, now: int) -> None:
        """It was looked at: it held nothing more as of `at`, or may hold more."""
        if at is not None:
            self._at, self._found_at = at, now

    def reported(self, now: int) -> int | None:
        """What to say: None only if it may have held more for a while."""
        return self._at if 0 <= now - self._found_at <= READ_AT_ONCE else None

    def forget(self) -> None:
        """What is read is older than silence was taken for."""
        self._at = None


class SourceProgress:
    """The progress of one source of one partition task. Used by the engine, one per source."""

    __slots__ = ("_caught_up", "_progress", "backfilling", "fetch", "last_record_at", "newest", "position", "spec")

    def __init__(self, spec: SourceSpec, position: int, mark: StoredProgress = StoredProgress()) -> None:
        self.spec = spec
        self.position = position
        """The next offset: everything before it was handed to the engine."""
        self.fetch: Fetch | None = None
        self.newest: int | None = None
        """The largest event time shown since the start."""
        self.backfilling = mark.backfilling
        self.last_record_at = mark.last_record_at
        self._progress = mark.progress
        self._caught_up = CaughtUp()

    def observe(self, at: int, timestamp: int, now: int) -> None:
        """A valid record was handed over: its event time, its Kafka timestamp, the present."""
        if self.newest is None or at > self.newest:
            self.newest = at
        self.backfilling = timestamp - at > BACKFILL_LAG
        self.last_record_at = now
        if self.backfilling:
            self._caught_up.forget()

    def observe_all(self, records: list[Event], now: int) -> None:
        """As `saw` of each of them, in their order."""
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
        """A fetch succeeded. Older news than what is known is dropped."""
        if self.fetch is None or fetch.sent_at >= self.fetch.sent_at:
            self.fetch = fetch

    def distrust(self) -> None:
        """What fetches have shown proves nothing: from now on, only a fetch of from now on shows an end."""
        self.fetch = None
        self._caught_up.forget()

    def caught_up_at(self) -> int | None:
        """The instant as of which the source is known to have held nothing more, if it is."""
        fetch = self.fetch
        if fetch is None or self.position < fetch.end:
            return None
        if self.backfilling and fetch.sent_at - self.last_record_at < self.spec.backfill_idle:
            return None
        return fetch.sent_at

    def is_caught_up(self, now: int) -> bool:
        """Whether the source may be taken to hold nothing more at present."""
        at = self.caught_up_at()
        return at is not None and now - at <= FETCH_FRESH

    def reported_caught_up_at(self, now: int) -> int | None:
        """As `drained_at`, to be told to others: what is being read at the moment does not count. To be asked whenever
        something was read, too."""
        self._caught_up.observe(self.caught_up_at(), now)
        return self._caught_up.reported(now)

    def progress(self, now: int, *, silence_counts: bool = True) -> int | None:
        """The time up to which the source has spoken, None if it never did. Never goes back.

        `silence_counts` is False while the whole topic has been silent for longer than its owner believes
        (`idle_timeout`): its silence is then no proof.
        """
        progress = self._progress
        if self.newest is not None:
            shown = min(self.newest, now)
            if progress is None or shown > progress:
                progress = shown
        drained_at = self.caught_up_at() if silence_counts else None
        if drained_at is not None and (progress is None or drained_at - self.spec.delay > progress):
            progress = drained_at - self.spec.delay
        self._progress = progress
        return progress

    def complete_up_to(self, now: int, *, clock_trusted: bool) -> int | None:
        """The time up to which everything has come but what is late; None if that is not known.

        More than `progress` where silence is no proof of what people do, but is of what there is to read.
        """
        progress = self._progress
        drained_at = self.caught_up_at() if clock_trusted else None
        if drained_at is not None and (progress is None or drained_at - self.spec.delay > progress):
            return drained_at - self.spec.delay
        return progress

    @property
    def reached(self) -> int | None:
        """The progress as of the last call of `progress`: to look at, without a judgement of silence."""
        return self._progress

    def stored(self, waiting: int | None) -> StoredProgress:
        """What to store with the committed offset. `waiting`: the time of the first record that is not applied yet.

        Such a record is read again after a restart; until then, the source has not come further than to it.
        """
        progress = self._progress
        if waiting is not None and progress is not None:
            progress = min(progress, waiting)
        return StoredProgress(progress, self.backfilling, self.last_record_at)
