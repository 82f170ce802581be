"""The internal messages that a task sends: their numbers, and the ones that are not sent yet.

Theory of operation
-------------------

**Numbers.** A message is made when the record that causes it is applied. Its number counts up within its stream, in the
order in which causes are applied. It waits for the commit, with its number, in the profile or alias that the record
changed, so none is sent that the changelog lacks. After a crash the messages of a complete flush are sent again under
their numbers, so a receiver skips a message that it has. A task reports no progress past the earliest message that is
not sent.

**Cut messages.** A flush that broke off leaves records in the changelog whose messages were never sent. These get new
numbers when the record that caused them is read again, so that they are in time order with the others; or, if it will
not be read again (it expired, or offsets were set), as soon as that is known. Until then each commit writes them again
with their profile, without a number. A cut message is dropped if an id that it names was erased since: its receiver
would skip it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from msgspec.structs import replace

from streams.core.event_time.inputs import MESSAGE_STREAMS
from streams.core.event_time.offset_gaps import first_again
from streams.core.model.event import MOVED
from streams.core.model.internal_messages import InternalMessage
from streams.core.model.sources import InputId, Rank, UpstreamId
from streams.core.profile.codec import packed_size
from streams.core.profile.profile import Profile
from streams.core.store.task_state import TaskState, record_key

CARTS: Final = 0
"""The stream of messages from carts and checkouts to devices."""
MOVES: Final = 1
"""The stream of messages from devices to customers."""

CausingRecord = tuple[InputId, int, bytes]
"""The record that caused a message: its input, its offset there, and the key of the profile that it changed."""


class MessageOutbox:
    """The messages of one task that are not sent yet. Owned by its `IdentityResolver`."""

    def __init__(
        self,
        state: TaskState,
        pending: dict[bytes, int],
        numbers: Iterable[int],
        unsent: Iterable[InternalMessage],
        cut: Iterable[tuple[bytes, InternalMessage]],
    ) -> None:
        """`pending`: bytes that profiles keep for the next commit, by key, of which cut messages are a part. `numbers`:
        the last numbers given, by stream. `unsent`, `cut`: see `TaskState.unsent_messages`."""
        self.numbers = [*numbers, *[-1] * MESSAGE_STREAMS][:MESSAGE_STREAMS]
        """The last number given to a message, by stream."""
        self.messages: list[InternalMessage] = []
        """The messages that wait for the commit."""
        self.cut: dict[CausingRecord, list[InternalMessage]] = {}
        """The cut messages that wait until their cause is read again."""
        self._cut_bytes: dict[bytes, int] = {}
        """Bytes that the cut messages take in the record that keeps them, by its key: they leave less room for other
        outputs."""
        self._state = state
        self._pending = pending
        self._made: list[int | None] = [None] * MESSAGE_STREAMS
        self._leaving: list[int | None] = [None] * MESSAGE_STREAMS
        """The earliest time, by stream, of messages made since the last commit (`_made`), and of messages that the last
        commit took and that are not sent yet (`_leaving`)."""
        for message in unsent:
            _note_earliest(self._leaving, message)
        for key, message in cut:
            self.cut.setdefault((message.cause, message.offset, key), []).append(message)
            self._cut_bytes[key] = self._cut_bytes.get(key, 0) + packed_size(message)
        self._pending.update(self._cut_bytes)

    def next_number(self, stream: int) -> int:
        """Return the number of the next message, which must be made at once."""
        self.numbers[stream] += 1
        return self.numbers[stream]

    def keep(self, message: InternalMessage, profile: Profile, watermark: int | None) -> None:
        """Keep the message in the profile until the commit."""
        profile.pending.append(message)
        self.messages.append(message)
        if watermark is None or message.at >= watermark:  # no task waits for a message that is late already
            _note_earliest(self._made, message)

    def waiting_since(self, stream: int) -> int | None:
        """Return the earliest time, ms, of the messages that are not sent yet; None if all are sent."""
        made, leaving = self._made[stream], self._leaving[stream]
        if made is None or leaving is None:
            return leaving if made is None else made
        return min(made, leaving)

    def begin_commit(self) -> list[InternalMessage]:
        """Begin a commit, and return its messages. Cut messages are written again with their profiles.

        `pending` must have been cleared.
        """
        self._leaving, self._made = self._made, [None] * MESSAGE_STREAMS
        for (_, _, key), messages in self.cut.items():
            profile = self._state.get(key)
            if profile is not None:
                profile.pending += [replace(message, number=-1) for message in messages if not self._is_erased(message)]
                self._state.note_change(key, profile, profile.stage, profile.places(), profile.next_deadline)
        self._pending.update(self._cut_bytes)
        taken, self.messages = self.messages, []
        return taken

    def note_sent(self) -> None:
        """Note that the messages of the last commit, and those that were unsent before, are sent."""
        self._leaving = [None] * MESSAGE_STREAMS

    def orphaned(self, committed: Mapping[Rank, int], taken: Mapping[UpstreamId, int]) -> list[CausingRecord]:
        """Return the causes of cut messages that will not be read again. `committed`, `taken`: the offsets that are
        known to be committed (see `TaskState.changes`)."""
        return [waiting for waiting in self.cut if waiting[1] < first_again(waiting[0], committed, taken)]

    def release_cut(self, causing: CausingRecord, profile: Profile, watermark: int | None) -> list[InternalMessage]:
        """Keep the cut messages that wait for this record, if there are any, for the next commit, under new numbers.

        Return them. They no longer count in `pending`.
        """
        messages, key = self.cut.pop(causing, None), causing[2]
        released: list[InternalMessage] = []
        if messages is None:
            return released
        for message in messages:
            size = packed_size(message)
            self._cut_bytes[key] -= size
            self._pending[key] -= size
            if not self._is_erased(message):
                numbered = replace(message, number=self.next_number(message.stream))
                self.keep(numbered, profile, watermark)
                released.append(numbered)
        self._state.note_change(key, profile, profile.stage, profile.places(), profile.next_deadline)
        return released

    def _is_erased(self, message: InternalMessage) -> bool:
        """Return True if an id that the message names was erased since: its receiver would skip it."""
        markers = self._state.markers
        if not markers.number:
            return False
        to_customer = message.stream == MOVES
        erased_at = markers.erased_at(record_key(message.customer, to_customer))
        if message.role != MOVED:  # a profile that moves is the customer's by now
            erased_at = max(erased_at, markers.erased_at(record_key(message.other, not to_customer)))
        return message.at <= erased_at


def _note_earliest(earliest: list[int | None], message: InternalMessage) -> None:
    known = earliest[message.stream]
    if known is None or message.at < known:
        earliest[message.stream] = message.at
