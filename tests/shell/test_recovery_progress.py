"""The reports of a recovery, with a driven clock."""

from __future__ import annotations

import logging

import pytest

from streams.shell.monitoring.recovery_progress import RecoveryFigures, RecoveryProgress, RecoveryStuck


class Watched:
    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        self.now = 100.0
        self.watch = RecoveryProgress(lambda: self.now)
        self._caplog = caplog

    def saw(self, seconds: float, **left: int) -> list[str]:
        """Report the records left, by partition, after some seconds. Return the lines logged."""
        self.now += seconds
        self._caplog.clear()
        self.watch.observe({int(name.removeprefix("p")): records for name, records in left.items()})
        return self._caplog.messages


@pytest.fixture
def watched(caplog: pytest.LogCaptureFixture) -> Watched:
    return Watched(caplog)


def test_recovery_is_logged_and_measured_from_start_to_end(watched: Watched) -> None:
    assert watched.saw(1) == []
    assert watched.watch.figures is None
    assert watched.saw(1, p0=6_000, p3=4_000) == ["Recovery: 10000 changelog records to read, of partitions [0, 3]"]
    assert watched.watch.figures == RecoveryFigures(10_000, 0.0, None)
    assert watched.saw(2, p0=4_000, p3=4_000) == []
    assert watched.watch.figures == RecoveryFigures(8_000, 1_000.0, 8.0)
    assert watched.saw(3, p3=4_000) == ["Recovery: 4000 changelog records left, 1200 a second, about 3 s"]
    assert watched.saw(2) == ["Recovered: 10000 changelog records in 7.0 s"]
    assert watched.watch.figures is None
    assert watched.saw(1) == []


def test_recovery_rate_is_that_of_the_last_seconds(watched: Watched) -> None:
    watched.saw(0, p0=1_000_000)
    for n in range(1, 10):
        watched.saw(1, p0=1_000_000 - n * 100_000)
    for n in range(12):
        watched.saw(1, p0=100_000 - n * 1_000)
    assert watched.watch.figures == RecoveryFigures(89_000, 1_000.0, 89.0)


def test_stalled_recovery_is_warned_of_at_intervals(watched: Watched) -> None:
    watched.saw(0, p0=500)
    lines = [line for _ in range(95) for line in watched.saw(1, p0=500)]
    assert [line.split(";")[0] for line in lines] == [
        f"Recovery has not read any record for {s} s" for s in (30, 60, 90)
    ]
    assert watched.watch.figures == RecoveryFigures(500, 0.0, None)
    assert watched.saw(1, p0=400)[0].startswith("Recovery: 400 changelog records left")
    assert watched.saw(4, p0=300) == []


def test_recovery_that_begins_again_counts_from_the_start(watched: Watched) -> None:
    watched.saw(0, p0=500)
    watched.saw(1, p0=100)
    assert watched.saw(1, p0=100, p1=700) == ["Recovery: 800 changelog records to read, of partitions [0, 1]"]
    assert watched.watch.figures == RecoveryFigures(800, 0.0, None)


def moments(watched: Watched, seconds: int, left: int, *, answers: bool) -> list[int]:
    """Return the seconds at which reading restarts, within a number of seconds."""
    found = []
    for second in range(1, seconds + 1):
        watched.now += 1
        watched.watch.observe({0: left}, answers)
        if watched.watch.stuck():
            found.append(second)
    return found


def test_a_recovery_that_reads_nothing_from_a_broker_that_answers_starts_again_and_then_ends_the_worker(
    watched: Watched,
) -> None:
    watched.watch.observe({0: 500}, True)
    assert moments(watched, 95, 500, answers=True) == [31, 62, 93]
    with pytest.raises(RecoveryStuck, match=r"stood still with 500 changelog records of partitions \[0\] left"):
        moments(watched, 31, 500, answers=True)


def test_recovery_that_progressed_may_restart_as_often_as_before(watched: Watched) -> None:
    watched.watch.observe({0: 500}, True)
    assert moments(watched, 95, 500, answers=True) == [31, 62, 93]
    assert moments(watched, 95, 400, answers=True) == [32, 63, 94]


def test_a_broker_that_is_away_is_waited_for(watched: Watched) -> None:
    watched.watch.observe({0: 500}, True)
    assert moments(watched, 600, 500, answers=False) == []
    assert moments(watched, 40, 500, answers=True) == [31]
