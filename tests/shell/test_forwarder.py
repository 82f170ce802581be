"""The records that a task puts on the repartition topic: their order, and how far they may be ahead."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from streams.contracts.repartition import MESSAGE, PARTS, PROGRESS, UPSTREAM
from streams.core.event_time.inputs import FIRST_MESSAGES
from streams.core.model.event import EVENT, LINK, Event, Source
from streams.core.model.internal_messages import InternalMessage
from streams.core.model.sources import InputId
from streams.shell.commit.outbox import OutgoingRecord
from streams.shell.tasks.forwarder import Forwarder

CLICKS = Source.CLICKSTREAM


class FakeProgress:
    """The progress of the sources, as the test sets it."""

    def __init__(self) -> None:
        self.slowest_at = 50
        self.reports: dict[int, tuple[int | None, int | None]] = {
            0: (50, None),
            FIRST_MESSAGES: (40, 3),
            FIRST_MESSAGES + 1: (30, None),
        }
        self.newest = 0

    def progress(self, source: Source) -> Any:
        return SimpleNamespace(newest=self.newest)

    def report(self, rank: int) -> tuple[int | None, int | None]:
        return self.reports[rank]

    def slowest(self) -> int | None:
        return self.slowest_at

    def slowest_anywhere(self) -> int | None:
        return self.slowest_at


def forwarder_and_records() -> tuple[Forwarder, list[OutgoingRecord], FakeProgress]:
    put: list[OutgoingRecord] = []
    channel: Any = SimpleNamespace(put=put.append)
    progress = FakeProgress()
    return Forwarder(progress, channel, "activity", 0, [1, 2], [CLICKS], streams=True), put, progress


def activity(offset: int, role: int = EVENT, at: int = 60) -> Event:
    customer, identified = ("c", True) if role == EVENT else ("d", False)
    return Event(CLICKS, offset, at, 100, at, customer, identified, "e", "t", role=role, other="x")


def raw(offset: int) -> Any:
    return SimpleNamespace(offset=offset, timestamp=7, key=b"k", value=b"v", headers=[])


def item(number: int, at: int = 60) -> InternalMessage:
    return InternalMessage(
        stream=1, number=number, cause=InputId(-1), offset=9, role=LINK, at=at, customer="d", other="c"
    )


def turns(put: list[OutgoingRecord], to: int) -> list[tuple[str, int, int]]:
    """Return the messages sent to a partition in order: header name, offset or number, and that of the previous one."""
    found = []
    for record in put:
        name, value = record.headers[-1]
        if record.partition == to and name != PROGRESS:
            _, _, offset, previous, _ = json.loads(value)
            found.append((name, offset, previous))
    return found


def test_parts_are_sent_in_runs_that_end_before_a_whole_record() -> None:
    forwarder, put, _ = forwarder_and_records()
    elsewhere = [
        (None, activity(5, LINK), 1),
        (None, activity(6, LINK), 1),
        (None, activity(6, LINK), 2),
        (raw(7), activity(7), 1),
        (None, activity(8, LINK), 1),
        (None, activity(9, LINK), 2),
    ]
    sent = forwarder.forward(CLICKS, elsewhere)
    assert (sent.records, sent.parts) == (1, 5)
    assert turns(put, 1) == [(PARTS, 6, -1), (UPSTREAM, 7, 6), (PARTS, 8, 7)]
    assert turns(put, 2) == [(PARTS, 9, -1)]
    assert [len(json.loads(record.value or b"")) for record in put if record.headers[-1][0] == PARTS] == [2, 2, 1]
    put.clear()
    forwarder.forward(CLICKS, [(None, activity(12, LINK), 2)])
    assert turns(put, 2) == [(PARTS, 12, 9)]


def test_a_run_fits_a_batch_however_long_the_ids_are() -> None:
    forwarder, put, _ = forwarder_and_records()
    elsewhere = []
    for offset in range(3_000):
        for _ in range(2):  # two parts of one record, which are never separated
            part = activity(offset, LINK)
            part.customer, part.other, part.event_id = "\x01" * 256, "\x02" * 256, "\x03" * 256
            elsewhere.append((None, part, 1))
    assert forwarder.forward(CLICKS, elsewhere).parts == 6_000
    runs = [json.loads(record.value or b"") for record in put]
    assert [part[0] for run in runs for part in run] == [offset for offset in range(3_000) for _ in range(2)]
    assert max(len(record.value or b"") for record in put) < 1 << 18
    offsets = [offset for _, offset, _ in turns(put, 1)]
    assert offsets == sorted(set(offsets))
    assert [previous for _, _, previous in turns(put, 1)] == [-1, *offsets[:-1]]


def test_internal_messages_name_the_previous_one_to_the_same_partition() -> None:
    forwarder, _, _ = forwarder_and_records()
    put = [forwarder.message(item(number), to) for number, to in ((4, 0), (5, 2), (7, 0))]
    assert turns(put, 0) == [(MESSAGE, 4, -1), (MESSAGE, 7, 4)]
    assert turns(put, 2) == [(MESSAGE, 5, -1)]


def test_reports_of_streams_go_to_all_tasks_and_reports_of_sources_to_the_others() -> None:
    forwarder, put, _ = forwarder_and_records()
    forwarder.forward(CLICKS, [(None, activity(5, LINK), 2)])
    forwarder.message(item(4), 0)
    put.clear()
    forwarder.report(10_000)
    reported = {record.partition: json.loads(record.value or b"") for record in put}
    covers = {to: {report["source"]: report["covers"] for report in reports} for to, reports in reported.items()}
    assert covers == {
        0: {FIRST_MESSAGES: -1, FIRST_MESSAGES + 1: 4},
        1: {0: -1, FIRST_MESSAGES: -1, FIRST_MESSAGES + 1: -1},
        2: {0: 5, FIRST_MESSAGES: -1, FIRST_MESSAGES + 1: -1},
    }
    assert [(report["progress"], report["caught_up_at"]) for report in reported[1]] == [(50, None), (40, 3), (30, None)]


@pytest.mark.parametrize("change", ["newest", "items", "progress"])
def test_changed_progress_is_reported_soon_and_passing_time_every_second(change: str) -> None:
    forwarder, put, progress = forwarder_and_records()
    forwarder.report(10_000)
    put.clear()
    forwarder.report(10_500)
    assert put == []
    if change == "newest":
        progress.newest = 1
    elif change == "items":
        forwarder.message(item(4), 1)
    else:
        progress.reports[FIRST_MESSAGES + 1] = (31, None)
    forwarder.report(10_600)
    assert len(put) == 3
    put.clear()
    forwarder.report(11_599)
    assert put == []
    forwarder.report(11_600)
    assert len(put) == 3


def test_progress_that_others_wait_for_is_reported_sooner() -> None:
    forwarder, put, progress = forwarder_and_records()
    for behind, soon in ((True, 50), (False, 200)):
        progress.reports = {0: (50, None if behind else 3), FIRST_MESSAGES: (40, 3), FIRST_MESSAGES + 1: (30, 3)}
        forwarder.report(10_000, at_once=True)
        assert forwarder.behind is behind
        progress.newest += 1
        assert not forwarder.report(10_000 + soon - 1)
        assert forwarder.report(10_000 + soon)
    put.clear()
    forwarder.message(item(4), 1)
    reported = {record.partition: json.loads(record.value or b"") for record in forwarder.report_messages()}
    assert put == []
    covers = {to: {report["source"]: report["covers"] for report in reports} for to, reports in reported.items()}
    assert covers == {to: {FIRST_MESSAGES: -1, FIRST_MESSAGES + 1: 4 if to == 1 else -1} for to in range(3)}


def test_parts_and_internal_messages_ahead_of_the_slowest_source_pause_a_source() -> None:
    forwarder, _, progress = forwarder_and_records()
    forwarder.forward(CLICKS, [(raw(7), activity(7, at=60), 1), (None, activity(8, LINK, at=70), 1)])
    of_records = forwarder.ahead_bytes(CLICKS)
    assert of_records == 200
    forwarder.message(item(4, at=80), 1)
    assert forwarder.ahead_bytes(CLICKS) > of_records
    progress.slowest_at = 70
    assert 0 < forwarder.ahead_bytes(CLICKS) < of_records
    progress.slowest_at = 80
    assert forwarder.ahead_bytes(CLICKS) == 0
