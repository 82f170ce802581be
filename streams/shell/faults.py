"""What ends a worker that runs: topics that are not what its state says, of which nothing is reset silently; commits
that do not go through; partitions that are somebody else's; defects."""

from __future__ import annotations

from collections.abc import Mapping

from aiokafka.errors import KafkaError
from faust.types import TP

from streams.errors import Fault

ELECTION_MS = 40_000
"""A leader that was just elected may show an end that is too early, until its copies have told it what they have or are
given up (`replica.lag.time.max.ms`, 30 s). If it stays for so long, it is the end."""

_ANEW = "Nothing is reset silently: stop all workers, and start with another LIFECYCLE_APP_ID"
"""Offsets may not be set where a topic was made anew: records with offsets that the state has seen are passed over."""


class OutOfRange(Fault):
    """A position that the topic does not have."""

    reason = "out_of_range"

    def __init__(self, tp: TP, offset: int) -> None:
        super().__init__(
            f"{tp.topic}, partition {tp.partition}, has no offset {offset}, which is this group's next: records were "
            f"deleted before they were read, or the topic was made anew. {_ANEW}, or, for records that were deleted, "
            "set this group's offset (kafka-consumer-groups --reset-offsets)."
        )


class TopicRecreated(Fault):
    """A topic that is not the one that was read or written before under its name."""

    reason = "topic_recreated"

    def __init__(self, topic: str) -> None:
        super().__init__(
            f"{topic} is not the topic that it was: it was deleted and made anew since this group read it. {_ANEW}."
        )


class NoOffset(Fault):
    """State whose place in the topic is not known: the first offsets are committed before the first state."""

    reason = "no_offset"

    def __init__(self, tp: TP) -> None:
        super().__init__(
            f"{tp.topic}, partition {tp.partition}: this group has state, but no offset there: the topic was made "
            f"anew, or the offset was deleted or has expired. {_ANEW}, or, for an offset that was lost, set it where "
            "it was (kafka-consumer-groups --reset-offsets)."
        )


class Truncated(Fault):
    """A topic ends before what was applied from it: it is another topic, or records were lost."""

    reason = "truncated"

    def __init__(self, topic: str, partition: int, applied: int, end: int) -> None:
        super().__init__(
            f"{topic}, partition {partition}, ends at offset {end}, but the state holds what came at {applied}: the "
            f"topic was made anew, or the brokers lost records. {_ANEW}."
        )


class RecordsMissing(Fault):
    """Records that were never read are gone from an input topic."""

    reason = "records_missing"

    def __init__(self, topic: str, partition: int, expected: int, found: int) -> None:
        super().__init__(
            f"{topic}, partition {partition}: offset {expected} is next, but the topic begins at {found}: records were "
            f"deleted before they were read. Raise the topic's retention. To go on without them, stop all workers and "
            f"set this group's offset of that partition to {found} (kafka-consumer-groups --reset-offsets)."
        )


class PartitionsAdded(Fault):
    """A topic that is read independently has got partitions that this worker does not know of."""

    reason = "partitions_added"
    passes = True

    def __init__(self, topic: str) -> None:
        super().__init__(
            f"{topic} has got more partitions since this worker took up its own. Nothing is lost: it ends, and the "
            "next one waits for what comes from them as well."
        )


class PartitionCountChanged(Fault):
    """A topic of which tasks read their partitions has another number of them now."""

    reason = "partition_count_changed"
    passes = True

    def __init__(self, topic: str, partitions: int, tasks: int) -> None:
        super().__init__(
            f"{topic} has {partitions} partitions now, and LIFECYCLE_PARTITIONS is {tasks}: it has to be read in "
            "another way. Nothing is lost: this worker ends, and the next one does so, or says what it needs."
        )


class CoPartitioningChanged(Fault):
    """A topic that was read independently has as many partitions as there are tasks now."""

    reason = "co_partitioning_changed"

    def __init__(self, topic: str, tasks: int) -> None:
        super().__init__(
            f"{topic} has {tasks} partitions now, as many as LIFECYCLE_PARTITIONS says, but this group has read it "
            "independently, and what waits for that cannot be taken over. Give it one partition more (kafka-topics "
            "--alter), or start with another LIFECYCLE_APP_ID."
        )


class IdentityResolutionOff(Fault):
    """Items wait in the state of a task that passes nothing on any more."""

    reason = "identity_resolution_off"

    def __init__(self, partition: int, items: int) -> None:
        super().__init__(
            f"LIFECYCLE_IDENTITY_RESOLUTION is off, but partition {partition} has still {items} identity "
            "messages to send: the previous worker did not shut down cleanly. Nothing was changed. Start once more "
            "with LIFECYCLE_IDENTITY_RESOLUTION=on, keep new input away for some seconds, stop all workers (SIGTERM), "
            "and then switch it off."
        )


class FetchingEnded(Fault):
    """The client reads no more, or has left its group, for a fault of its own or by the broker's word."""

    reason = "fetching_ended"
    passes = True

    def __init__(self, cause: BaseException) -> None:
        super().__init__(
            f"The Kafka client has ceased to read ({type(cause).__name__}: {cause}). Nothing is lost: this worker "
            "ends, and the next one goes on from the last commit."
        )


class StateBehind(Fault):
    """The group has committed more than the changelog holds."""

    reason = "state_behind"

    def __init__(self, changelog: str, partition: int, committed: int, found: int) -> None:
        super().__init__(
            f"{changelog}, partition {partition}, holds the state up to commit {found}, but commit {committed} went "
            f"through: the changelog was made anew, or the brokers lost records. {_ANEW}."
        )


class CommitFailed(Fault):
    """The broker did not take all of a commit, or it could not be made."""

    reason = "commit_failed"
    passes = True

    def __init__(self, cause: Exception) -> None:
        foreseen = isinstance(cause, KafkaError | OSError)  # what any other says may be of a customer
        what = f"{type(cause).__name__}: {cause}" if foreseen else type(cause).__name__
        super().__init__(
            f"A commit failed ({what}). Nothing is lost: this worker ends, the next goes on from the last commit."
        )
        self.behind = cause if foreseen else _without_words(cause)


class CommitLate(Fault):
    """What was let go could not be committed in the time there is for that."""

    reason = "commit_late"
    passes = True

    def __init__(self) -> None:
        super().__init__(
            "The last commit did not come through in time: is a broker reachable? The work since the one before will "
            "be done again."
        )


class MembershipLost(Fault):
    """At least once: the group has dealt this worker's partitions to others."""

    reason = "membership_lost"
    passes = True

    def __init__(self) -> None:
        super().__init__(
            "This worker was out of touch with its group for longer than LIFECYCLE_SESSION_TIMEOUT, and its partitions "
            "went to others. It ends, so that a new one may take its place: what it did since its last commit is done "
            "again, with the same ids."
        )


class Fenced(Fault):
    """Exactly once: another worker has the transactional id of a partition."""

    reason = "fenced"
    passes = True

    def __init__(self) -> None:
        super().__init__(
            "Another worker has taken over partitions of this one, which was out of touch for longer than "
            "LIFECYCLE_SESSION_TIMEOUT; or a commit took longer than LIFECYCLE_TRANSACTION_TIMEOUT. It ends, so that a "
            "new one may take its place: what it did since its last commit was never seen, and is done again."
        )


class ShutdownForced(Fault):
    """The watchdog ends the process."""

    reason = "shutdown_forced"
    passes = True

    def __init__(self) -> None:
        super().__init__("Shutting down took longer than LIFECYCLE_SHUTDOWN_TIMEOUT: leaving as it is.")


class Defect(Fault):
    """An error that nobody foresaw, at records that the next worker reads as well."""

    reason = "defect"

    def __init__(self, cause: Exception, read: Mapping[TP, int], chunk: tuple[TP, int, int] | None = None) -> None:
        """`read`: of all that is read of the partition, the next offset. `chunk`: the first and the last offset of what
        was handed over; None if time passed, and what had waited was applied.

        What the error itself says is left out: it may be of a customer.
        """
        at = f"as time passed in partition {next(iter(read)).partition}"
        if chunk is not None:
            tp, first, last = chunk
            at = f"at {tp.topic}, partition {tp.partition}, offsets {first} to {last}"
        waited = [
            f"{tp.topic} before offset {offset}" for tp, offset in read.items() if chunk is None or tp != chunk[0]
        ]
        if waited:
            at += f", or at what had waited of {', '.join(waited)}"
        super().__init__(
            f"{type(cause).__name__} {at}: a defect of this program. Nothing is lost, but each worker that takes the "
            "partition over ends there again. Upgrade, and report it with the log. To go on without these records, "
            "stop all workers and set this group's offset behind them (kafka-consumer-groups --reset-offsets)."
        )
        self.behind = _without_words(cause)


def _without_words(error: Exception) -> Exception:
    """Its type, and where it was raised."""
    kind: type[Exception] = type(type(error).__name__, (Exception,), {"__module__": type(error).__module__})
    return kind().with_traceback(error.__traceback__)
