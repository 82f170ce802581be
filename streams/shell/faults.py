"""What ends a worker because its topics are not what its state says: nothing is reset silently."""

from __future__ import annotations

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


class TopicAnew(Fault):
    """A topic that is not the one that was read or written before under its name."""

    reason = "topic_anew"

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


class Hole(Fault):
    """Records that were never read are gone from an input topic."""

    reason = "hole"

    def __init__(self, topic: str, partition: int, expected: int, found: int) -> None:
        super().__init__(
            f"{topic}, partition {partition}: offset {expected} is next, but the topic begins at {found}: records were "
            f"deleted before they were read. Raise the topic's retention. To go on without them, stop all workers and "
            f"set this group's offset of that partition to {found} (kafka-consumer-groups --reset-offsets)."
        )


class Grown(Fault):
    """A topic that is read independently has got partitions that this worker does not know of."""

    reason = "grown"
    passes = True

    def __init__(self, topic: str) -> None:
        super().__init__(
            f"{topic} has got more partitions since this worker took up its own. Nothing is lost: it ends, and the "
            "next one waits for what comes from them as well."
        )


class CountChanged(Fault):
    """A topic of which tasks read their partitions has another number of them now."""

    reason = "count_changed"
    passes = True

    def __init__(self, topic: str, partitions: int, tasks: int) -> None:
        super().__init__(
            f"{topic} has {partitions} partitions now, and LIFECYCLE_PARTITIONS is {tasks}: it has to be read in "
            "another way. Nothing is lost: this worker ends, and the next one does so, or says what it needs."
        )


class WasApart(Fault):
    """A topic that was read independently has as many partitions as there are tasks now."""

    reason = "was_apart"

    def __init__(self, topic: str, tasks: int) -> None:
        super().__init__(
            f"{topic} has {tasks} partitions now, as many as LIFECYCLE_PARTITIONS says, but this group has read it "
            "independently, and what waits for that cannot be taken over. Give it one partition more (kafka-topics "
            "--alter), or start with another LIFECYCLE_APP_ID."
        )


class LinkingOff(Fault):
    """Items wait in the state of a task that passes nothing on any more."""

    reason = "linking_off"

    def __init__(self, partition: int, items: int) -> None:
        super().__init__(
            f"LIFECYCLE_LINKING is off, but partition {partition} has still {items} items of who is who to hand on: "
            "the worker before did not end in order. Nothing was changed: start with LIFECYCLE_LINKING=on once more, "
            "let nothing new come in for some seconds, stop all workers (SIGTERM), and switch it off then."
        )


class FetchingEnded(Fault):
    """The client reads no more, for a fault of its own."""

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
