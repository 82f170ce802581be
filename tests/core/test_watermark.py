"""Progress: event times that a source has shown, and the proof of silence. A driven clock, no sleeps."""

from __future__ import annotations

from streams.core.event_time.watermark import FETCH_FRESH, READ_AT_ONCE, SourceProgress
from streams.core.model.policy import HOUR, MINUTE, SECOND
from streams.core.model.sources import Fetch, SourceSpec, StoredProgress
from tests.support.customer_history import click

NOON = 1_763_719_200_000
SPEC = SourceSpec(delay=5 * SECOND, backfill_idle=10 * MINUTE)


def source(position: int = 0, stored: StoredProgress = StoredProgress()) -> SourceProgress:
    return SourceProgress(SPEC, position, stored)


def test_source_without_a_record_or_fetch_has_no_progress() -> None:
    assert source().progress(NOON) is None


def test_progress_is_the_largest_event_time_shown() -> None:
    s = source()
    s.observe(NOON, NOON, NOON + 1)
    s.observe(NOON - HOUR // 2, NOON, NOON + 2)
    assert s.progress(NOON + 3) == NOON


def test_records_observed_together_or_one_by_one_give_the_same_progress() -> None:
    runs = [[(0, 0)], [(5, 0), (3, 2 * HOUR), (9, 0)], [(1, 0), (8, 2 * HOUR)], [(-7, 2 * HOUR), (-7, 0)], []]
    for known in runs:
        for run in runs:
            together, singly = source(3), source(3)
            for s in (together, singly):
                s.observe_fetch(Fetch(NOON, 3))
                assert s.reported_caught_up_at(NOON) == NOON
            for times in (known, run):
                records = [click(at) for at, _ in times]
                for record, (_, behind) in zip(records, times, strict=True):
                    record.timestamp += behind
                together.observe_all(records, NOON + 1)
                for record in records:
                    singly.observe(record.at, record.timestamp, NOON + 1)
            for s in (together, singly):
                s.position = 2
            assert together.newest == singly.newest
            assert together.stored(None) == singly.stored(None)
            assert together.reported_caught_up_at(NOON + 2) == singly.reported_caught_up_at(NOON + 2)


def test_progress_is_never_beyond_the_wall_clock() -> None:
    s = source()
    s.observe(NOON + 4 * MINUTE, NOON, NOON)
    assert s.progress(NOON) == NOON
    assert s.progress(NOON + MINUTE) == NOON + MINUTE
    assert s.progress(NOON + HOUR) == NOON + 4 * MINUTE


def test_progress_of_a_caught_up_source_is_the_time_of_the_fetch_less_its_delay() -> None:
    s = source(position=7)
    s.observe_fetch(Fetch(NOON, 7))
    assert s.is_caught_up(NOON + 1)
    assert s.progress(NOON + HOUR) == NOON - 5 * SECOND


def test_source_with_unread_records_is_not_caught_up() -> None:
    s = source(position=6)
    s.observe_fetch(Fetch(NOON, 7))
    assert not s.is_caught_up(NOON)
    assert s.progress(NOON) is None
    s.position = 7
    assert s.is_caught_up(NOON)


def test_source_without_a_fresh_fetch_is_not_caught_up() -> None:
    """With an unreachable leader or a stopped process, the last fetch keeps its meaning."""
    s = source(position=7)
    s.observe_fetch(Fetch(NOON, 7))
    assert s.is_caught_up(NOON + FETCH_FRESH)
    assert not s.is_caught_up(NOON + FETCH_FRESH + 1)
    assert s.progress(NOON + 3 * HOUR) == NOON - 5 * SECOND


def test_overtaken_fetch_response_is_ignored() -> None:
    s = source(position=7)
    s.observe_fetch(Fetch(NOON + 10, 9))
    s.observe_fetch(Fetch(NOON, 7))
    assert not s.is_caught_up(NOON + 10)


def test_backfilled_source_is_caught_up_only_after_ten_minutes_without_a_record() -> None:
    s = source()
    s.observe(NOON - 2 * HOUR, NOON, NOON)  # its record came two hours after the event
    s.position = 1
    s.observe_fetch(Fetch(NOON + 10 * MINUTE - 1, 1))
    assert not s.is_caught_up(NOON + 10 * MINUTE)
    assert s.progress(NOON + 10 * MINUTE) == NOON - 2 * HOUR
    s.observe_fetch(Fetch(NOON + 10 * MINUTE, 1))
    assert s.is_caught_up(NOON + 10 * MINUTE)
    assert s.progress(NOON + 10 * MINUTE) == NOON + 10 * MINUTE - 5 * SECOND


def test_last_record_over_an_hour_old_makes_a_backfill() -> None:
    s = source()
    s.observe(NOON - HOUR, NOON, NOON)
    assert not s.backfilling
    s.observe(NOON - HOUR - 1, NOON, NOON)
    assert s.backfilling
    s.observe(NOON, NOON, NOON)
    assert not s.backfilling


def test_a_backfill_is_remembered_over_a_restart() -> None:
    s = source()
    s.observe(NOON - 2 * HOUR, NOON, NOON)
    s.progress(NOON)
    again = source(position=1, stored=s.stored(None))
    again.observe_fetch(Fetch(NOON + MINUTE, 1))
    assert not again.is_caught_up(NOON + MINUTE)
    assert again.progress(NOON + MINUTE) == NOON - 2 * HOUR


def test_progress_never_goes_back_even_if_the_clock_does() -> None:
    s = source(position=7)
    s.observe_fetch(Fetch(NOON, 7))
    before = s.progress(NOON)
    s.position = 8
    s.observe(NOON - HOUR // 2, NOON, NOON)
    assert s.progress(NOON - HOUR) == before


def test_silence_of_a_topic_beyond_its_limit_gives_no_progress() -> None:
    s = source(position=7)
    s.observe_fetch(Fetch(NOON, 7))
    assert s.progress(NOON, silence_counts=False) is None
    assert s.progress(NOON) == NOON - 5 * SECOND


def test_source_that_is_being_read_is_not_reported_as_behind() -> None:
    s = source(position=7)
    s.observe_fetch(Fetch(NOON, 7))
    assert s.reported_caught_up_at(NOON + 1) == NOON
    s.observe_fetch(Fetch(NOON + 10, 9))
    assert s.caught_up_at() is None
    assert s.reported_caught_up_at(NOON + 1 + READ_AT_ONCE) == NOON
    assert s.reported_caught_up_at(NOON + 2 + READ_AT_ONCE) is None
    s.position = 9
    assert s.reported_caught_up_at(NOON + HOUR) == NOON + 10


def test_source_never_caught_up_or_distrusted_is_reported_as_behind_at_once() -> None:
    s = source(position=7)
    s.observe_fetch(Fetch(NOON, 9))
    assert s.reported_caught_up_at(NOON) is None
    for shaken in ("backfilled", "distrusted"):
        s = source(position=7)
        s.observe_fetch(Fetch(NOON, 7))
        assert s.reported_caught_up_at(NOON) == NOON
        if shaken == "backfilled":
            s.observe(NOON - 2 * HOUR, NOON, NOON)
            s.observe_fetch(Fetch(NOON + 1, 9))
        else:
            s.distrust()
        assert s.reported_caught_up_at(NOON + 1) is None
