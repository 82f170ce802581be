"""Faults: the reasons for which a running worker ends by itself.

The causes are topics that do not match the state (nothing is reset silently), commits that fail, partitions that the
group has given to another worker, and defects. Each sentence names the cause, what was not changed, and the remedy;
docs/operations.md cites it.
"""

from __future__ import annotations

from collections.abc import Mapping

from aiokafka.errors import KafkaError
from faust.types import TP

from streams.errors import Fault

ELECTION_MS = 40_000
"""A newly elected leader may report an end that is too early, until its followers have reported what they have, or have
left the in-sync replicas (`replica.lag.time.max.ms`, 30 s). An end that stays for this time is final."""

_START_AGAIN = "Nothing was reset. Stop all workers, and start with another LIFECYCLE_APP_ID"
"""The only remedy for a topic that was created again. If the group's offsets were set instead, the state would skip new
records that have the offsets of records that it applied from the old topic."""


class OutOfRange(Fault):
    """The group's next offset does not exist in the topic."""

    reason = "out_of_range"

    def __init__(self, tp: TP, offset: int) -> None:
        super().__init__(
            f"{tp.topic}, partition {tp.partition}, has no offset {offset}, which is this group's next: records were "
            f"deleted before they were read, or the topic was deleted and created again. {_START_AGAIN}. If records "
            "were deleted, you can set this group's offset instead (kafka-consumer-groups --reset-offsets)."
        )


class TopicRecreated(Fault):
    """A topic is not the one that was read or written before under its name."""

    reason = "topic_recreated"

    def __init__(self, topic: str) -> None:
        super().__init__(f"{topic} was deleted and created again after this group had read it. {_START_AGAIN}.")


class NoOffset(Fault):
    """There is state, but no committed offset for it. The first offsets are committed before the first state."""

    reason = "no_offset"

    def __init__(self, tp: TP) -> None:
        super().__init__(
            f"{tp.topic}, partition {tp.partition}: this group has state but no committed offset: the topic was "
            f"deleted and created again, or the offset was deleted or has expired. {_START_AGAIN}. If only the offset "
            "was lost, you can set it to its old value instead (kafka-consumer-groups --reset-offsets)."
        )


class Truncated(Fault):
    """A topic ends before records that were applied from it: it is another topic, or records were lost."""

    reason = "truncated"

    def __init__(self, topic: str, partition: int, applied: int, end: int) -> None:
        super().__init__(
            f"{topic}, partition {partition}, ends at offset {end}, but the state contains the record at {applied}: "
            f"the topic was deleted and created again, or the brokers lost records. {_START_AGAIN}."
        )


class RecordsMissing(Fault):
    """Records of an input topic were deleted before they were read."""

    reason = "records_missing"

    def __init__(self, topic: str, partition: int, expected: int, found: int) -> None:
        super().__init__(
            f"{topic}, partition {partition}: offset {expected} is next, but the topic begins at {found}: records were "
            f"deleted before they were read. Nothing was skipped. Raise the topic's retention. To go on without these "
            f"records, stop all workers and set this group's offset of that partition to {found} "
            "(kafka-consumer-groups --reset-offsets)."
        )


class PartitionsAdded(Fault):
    """A topic that repartition tasks read has partitions that this worker does not know."""

    reason = "partitions_added"
    passes = True

    def __init__(self, topic: str) -> None:
        super().__init__(
            f"{topic} has more partitions than when this worker was assigned its own. Nothing is lost: this worker "
            "ends, and the next one takes the new partitions into account."
        )


class PartitionCountChanged(Fault):
    """A topic whose partitions tasks read has another number of them now."""

    reason = "partition_count_changed"
    passes = True

    def __init__(self, topic: str, partitions: int, tasks: int) -> None:
        super().__init__(
            f"{topic} has {partitions} partitions now, but LIFECYCLE_PARTITIONS is {tasks}: repartition tasks have to "
            "read it. Nothing is lost: this worker ends, and the next one starts them, or reports the setting that "
            "they need."
        )


class CoPartitioningChanged(Fault):
    """A topic that repartition tasks read now has as many partitions as there are tasks."""

    reason = "co_partitioning_changed"

    def __init__(self, topic: str, tasks: int) -> None:
        super().__init__(
            f"{topic} has {tasks} partitions now, as many as LIFECYCLE_PARTITIONS, but repartition tasks of this group "
            "have read it, and tasks cannot take over the records that they have not forwarded yet. Nothing was "
            "changed. Add one more partition (kafka-topics --alter), or start with another LIFECYCLE_APP_ID."
        )


class IdentityResolutionOff(Fault):
    """Internal messages wait in the state of a task that does not send any more."""

    reason = "identity_resolution_off"

    def __init__(self, partition: int, messages: int) -> None:
        super().__init__(
            f"LIFECYCLE_IDENTITY_RESOLUTION is off, but partition {partition} still has {messages} internal messages "
            "to send: the previous worker did not shut down cleanly. Nothing was changed. Start once more with "
            "LIFECYCLE_IDENTITY_RESOLUTION=on, keep new input away for some seconds, stop all workers (SIGTERM), and "
            "then switch it off."
        )


class FetchingEnded(Fault):
    """The Kafka client reads no more or has left its group, because of its own fault or on request of the broker."""

    reason = "fetching_ended"
    passes = True

    def __init__(self, cause: BaseException) -> None:
        super().__init__(
            f"The Kafka client has stopped reading ({type(cause).__name__}: {cause}). Nothing is lost: this worker "
            "ends, and the next one goes on from the last commit."
        )


class StateBehind(Fault):
    """The group has made a later commit than the changelog contains."""

    reason = "state_behind"

    def __init__(self, changelog: str, partition: int, committed: int, found: int) -> None:
        super().__init__(
            f"{changelog}, partition {partition}, contains the state up to commit {found}, but this group has made "
            f"commit {committed}: the changelog was deleted and created again, or the brokers lost records. "
            f"{_START_AGAIN}."
        )


class CommitFailed(Fault):
    """The broker did not accept all of a commit, or the commit could not be made."""

    reason = "commit_failed"
    passes = True

    def __init__(self, cause: Exception) -> None:
        foreseen = isinstance(cause, KafkaError | OSError)  # the text of any other error may contain customer data
        what = f"{type(cause).__name__}: {cause}" if foreseen else type(cause).__name__
        super().__init__(
            f"A commit failed ({what}). Nothing is lost: this worker ends, and the next one goes on from the last "
            "commit."
        )
        self.behind = cause if foreseen else _without_text(cause)


class CommitLate(Fault):
    """The work of released partitions could not be committed within the time limit."""

    reason = "commit_late"
    passes = True

    def __init__(self) -> None:
        super().__init__(
            "The last commit did not complete in time. Nothing is lost: the work since the commit before it will be "
            "done again. Check that the brokers can be reached."
        )


class MembershipLost(Fault):
    """At least once: the group has given this worker's partitions to others."""

    reason = "membership_lost"
    passes = True

    def __init__(self) -> None:
        super().__init__(
            "This worker was out of touch with its group for longer than LIFECYCLE_SESSION_TIMEOUT, and its partitions "
            "were given to others. It ends, so that a new one can take its place: its work since its last commit is "
            "done again, with the same ids."
        )


class Fenced(Fault):
    """Exactly once: another worker has the transactional id of a partition."""

    reason = "fenced"
    passes = True

    def __init__(self) -> None:
        super().__init__(
            "Another worker has taken over partitions of this one: this one was out of touch for longer than "
            "LIFECYCLE_SESSION_TIMEOUT, or a commit took longer than LIFECYCLE_TRANSACTION_TIMEOUT. It ends, so that a "
            "new one can take its place: its work since its last commit was never visible, and is done again."
        )


class ShutdownForced(Fault):
    """Shutdown took too long: the timer of `Lifetime` ends the process."""

    reason = "shutdown_forced"
    passes = True

    def __init__(self) -> None:
        super().__init__(
            "Shutting down took longer than LIFECYCLE_SHUTDOWN_TIMEOUT: the process ends now. Work that is not "
            "committed is done again."
        )


class Defect(Fault):
    """An unforeseen error, at records that the next worker reads as well."""

    reason = "defect"

    def __init__(self, cause: Exception, read: Mapping[TP, int], chunk: tuple[TP, int, int] | None = None) -> None:
        """`read`: the next offset of each topic partition that the task reads. `chunk`: the first and the last offset
        of the records that were handed over; None if records that had waited were applied as time passed.

        The text of the error is left out, because it may contain customer data.
        """
        at = f"as time passed in partition {next(iter(read)).partition}"
        if chunk is not None:
            tp, first, last = chunk
            at = f"at {tp.topic}, partition {tp.partition}, offsets {first} to {last}"
        waited = [
            f"{tp.topic} before offset {offset}" for tp, offset in read.items() if chunk is None or tp != chunk[0]
        ]
        if waited:
            at += f", or at records that had waited ({', '.join(waited)})"
        super().__init__(
            f"{type(cause).__name__} {at}: a defect of this program. Nothing is lost, but each worker that takes the "
            "partition over ends at the same place. Upgrade, and report it with the log. To go on without these "
            "records, stop all workers and set this group's offset behind them (kafka-consumer-groups --reset-offsets)."
        )
        self.behind = _without_text(cause)


def _without_text(error: Exception) -> Exception:
    """Return an error of the same type name, raised at the same place, without the text."""
    kind: type[Exception] = type(type(error).__name__, (Exception,), {"__module__": type(error).__module__})
    return kind().with_traceback(error.__traceback__)
