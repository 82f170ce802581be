"""The changelog with a fake producer: batches, and records that fit none."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from streams.shell.commit.changelog import Changelog, Flush
from streams.shell.commit.metadata import MARKER_KEY
from tests.support.fake_producer import FakeProducer


class Log(FakeProducer):
    """A producer that reports the offset at which each batch begins."""

    def __init__(self, room: int) -> None:
        super().__init__(acknowledging=False, room=room)

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> Any:
        """Acknowledge the batch with its first offset."""
        begins = len(self.sent)
        acknowledgement = await super().send_batch(batch, topic, partition=partition)
        acknowledgement.set_result(SimpleNamespace(offset=begins, timestamp=0, timestamp_type=0))
        return acknowledgement


def changelog(log: Log, *, separate_marker: bool = True) -> Changelog:
    return Changelog(lambda: log, "changelog", 3, clock=lambda: 0, separate_marker=separate_marker)


@pytest.mark.parametrize(("separate_marker", "batches"), [(True, 4), (False, 3)])
async def test_changes_are_sent_in_order_in_batches_followed_by_a_commit_marker(
    separate_marker: bool, batches: int
) -> None:
    log = Log(room=2)
    changes = [(b"%d" % n, None if n == 1 else b"v") for n in range(5)]
    flush = await changelog(log, separate_marker=separate_marker).write(changes, b"m")
    keys = [key for _, _, key, _ in log.sent]
    assert keys == [b"0", b"1", b"2", b"3", b"4", MARKER_KEY]
    assert {(topic, partition) for topic, partition, _, _ in log.sent} == {("changelog", 3)}
    assert (log.batches, flush) == (batches, Flush(0, 5, True))


async def test_profile_too_large_for_a_batch_is_an_error_before_anything_is_sent() -> None:
    log = Log(room=0)
    with pytest.raises(ValueError, match="a profile of 3 bytes does not fit a batch of changelog"):
        await changelog(log).write([(b"k", b"abc")], b"m")
    assert log.sent == []
