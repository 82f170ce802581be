"""A profile as bytes, for the changelog and for memory.

A fixed header, which recovery reads alone, then the rest as MessagePack:

    u8 version | u8 flags | i64 next deadline, ms | i64 commit | u8 number of offsets | u8 length of stage |
    i64 applied offset, per source and, if any, of the activity topic | stage, UTF-8 |
    in format 2: u16 length of places, places, UTF-8 |
    the profile without these, as an array; in format 3 that of an alias

Little-endian. Flags: 1 identified, 2 has a next deadline, 4 is in a stage. Places are the stages in further tracks,
as `track=stage` lines; a profile without any is written in format 1, and an alias in format 3. An array that is shorter
than the profile's fields was packed before the last ones existed: those take their defaults. So a field is only ever
appended, and `VERSION` is raised when an older version could not read what is written, or would drop what matters.

A profile with holes (`streams.core.event_time.offset_gaps`) is written in format 4: u8 4 | u32 length | holes, as
MessagePack | the same in one of the other formats.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec
from msgspec.structs import astuple

from streams.core.event_time.inputs import REPARTITION
from streams.core.model.outputs import Pending
from streams.core.profile import sessions
from streams.core.profile.fields import PackedAlias, PackedFields
from streams.core.profile.profile import Profile
from streams.core.profile.recent_ids import tags_of

VERSION: Final = 4
_WITHOUT_PLACES: Final = 1
_WITH_PLACES: Final = 2
_ALIAS: Final = 3
_WITH_HOLES: Final = 4

HEADER_ROOM: Final = 512
"""Bytes to allow for the header."""

_FIXED: Final = struct.Struct("<BBqqBB")
_USUAL: Final = struct.Struct("<BBqqBBqq")
"""As `_FIXED`, with the offsets of both sources behind it: most profiles have no others."""
_LENGTH: Final = struct.Struct("<H")
_BEFORE_HOLES: Final = struct.Struct("<BI")
_IDENTIFIED, _HAS_DEADLINE, _HAS_STAGE = 1, 2, 4
_READ: Final = REPARTITION + 1
"""Offsets that may have been applied: of each source, and of the activity topic."""
# Methods and functions of other libraries are looked up once.
_pack_usual: Final = _USUAL.pack
_encode: Final = msgspec.msgpack.Encoder().encode
_astuple: Final = astuple
_DECODER: Final = msgspec.msgpack.Decoder(PackedFields)
_ALIAS_DECODER: Final = msgspec.msgpack.Decoder(PackedAlias)
_HOLES_DECODER: Final = msgspec.msgpack.Decoder(dict[int, list[int]])


class Unreadable(ValueError):
    """A packed profile cannot be read. The message is a sentence for an operator."""


class NewerVersion(Unreadable):
    """It was written by a newer version of this program."""


class Corrupt(Unreadable):
    """It is not a packed profile."""


class Header:
    """What recovery needs of a profile: its timer, its place in the population, and how fresh it is."""

    def __init__(
        self, version: int, identified: bool, stage: str | None, next_deadline: int | None, applied: tuple[int, ...],
        commit: int, places: tuple[tuple[str, str], ...] = (), holes: dict[int, list[int]] | None = None,
    ) -> None:  # fmt: skip
        self.version = version
        self.identified = identified
        self.stage = stage
        self.next_deadline = next_deadline
        self.applied = applied
        """See `Profile.applied`."""
        self.commit = commit
        self.places = places
        """As of `Profile.places`."""
        self.offset_gaps = holes
        """As of `Profile.holes`, in order."""
        self.is_alias = version == _ALIAS
        self.forgotten = stage is None and not self.is_alias
        """Only its last outputs are kept, until they are known to be sent."""


def pack(profile: Profile) -> bytes:
    """The profile as bytes. It is not changed."""
    if profile.offset_gaps:
        holes = _encode({cause: sorted(offsets) for cause, offsets in sorted(profile.offset_gaps.items()) if offsets})
        return _BEFORE_HOLES.pack(_WITH_HOLES, len(holes)) + holes + _packed(profile)
    return _packed(profile)


def _packed(profile: Profile) -> bytes:
    stage = b"" if profile.stage is None else profile.stage.encode()
    flags = 0
    if profile.identified:
        flags |= _IDENTIFIED
    if profile.next_deadline is not None:
        flags |= _HAS_DEADLINE
    if profile.stage is not None:
        flags |= _HAS_STAGE
    places = b""
    if profile.tracks is not None:
        places = "\n".join([f"{track}={place}" for track, place in profile.places()]).encode()
    alias = profile.alias
    version = _ALIAS if alias is not None else _WITH_PLACES if places else _WITHOUT_PLACES
    deadline = profile.next_deadline or 0
    if profile.applied_forwarded < 0:
        header = _pack_usual(
            version, flags, deadline, profile.commit, 2, len(stage), profile.applied_clicks, profile.applied_orders
        )
    else:
        applied = profile.applied
        header = _FIXED.pack(version, flags, deadline, profile.commit, len(applied), len(stage))
        header += struct.pack(f"<{len(applied)}q", *applied)
    header += stage
    if places:
        header += _LENGTH.pack(len(places)) + places
    if alias is not None:
        return header + _encode(
            PackedAlias(profile.customer, alias, profile.pending, profile.of_upstreams, profile.erased_at)
        )
    return header + _encode(_rest(profile, profile.pending, profile.of_upstreams))


def pack_to_move(profile: Profile) -> bytes:
    """The profile as bytes for another one to be merged with: without what depends on where it was worked on."""
    bare = unpack(pack(profile))
    bare.pending, bare.of_upstreams, bare.offset_gaps, bare.commit = [], None, None, 0
    bare.applied_clicks = bare.applied_orders = bare.applied_forwarded = -1
    return pack(bare)


def peek(data: bytes) -> Header:
    """The header alone. Raises as `unpack` does."""
    return _header(data)[0]


def unpack(data: bytes) -> Profile:
    """The profile. Raises `NewerVersion`, or `Corrupt` if this is no packed profile."""
    header, end = _header(data)
    try:
        if header.is_alias:
            kept = _ALIAS_DECODER.decode(memoryview(data)[end:])
            profile = _begun(kept.customer, header)
            profile.alias, profile.pending, profile.of_upstreams = kept.alias, kept.pending, kept.of_origins
            profile.erased_at = kept.erased_at
            return profile
        rest = _DECODER.decode(memoryview(data)[end:])
    except msgspec.DecodeError as error:
        raise Corrupt(f"this is not a packed profile, or it is damaged: {error}") from error
    profile = _begun(rest.customer, header)
    profile.pending = rest.pending
    profile.entered_at = rest.entered_at
    profile.sequence = rest.sequence
    profile.cycle = rest.cycle
    profile.orders_in_stage = rest.orders_in_stage
    profile.first_seen_at = rest.first_seen_at
    profile.last_seen_at = rest.last_seen_at
    profile.last_activity_at = rest.last_activity_at
    profile.event_ids = rest.event_ids
    profile.sessions = rest.sessions
    profile.session_id = rest.session_id
    profile.session_id_at = rest.session_id_at
    profile.subscribed = rest.subscribed
    profile.subscribed_at = rest.subscribed_at
    profile.signed_up = rest.signed_up
    profile.product_views = rest.product_views
    profile.checkouts = rest.checkouts
    profile.reviews = rest.reviews
    profile.referrals = rest.referrals
    profile.orders = rest.orders
    profile.revenue = rest.revenue
    profile.currency = rest.currency
    profile.other_currency_orders = rest.other_currency_orders
    profile.last_order_at = rest.last_order_at
    profile.dropped_order_at = rest.dropped_order_at
    profile.order_book = rest.order_book
    profile.order_notes = rest.order_notes
    profile.cart = rest.cart
    profile.episode = rest.episode
    profile.armed = rest.armed
    profile.latest = rest.latest
    profile.recent_steps = rest.recent_steps
    profile.weight = rest.weight
    profile.type_counts = rest.type_counts
    profile.facts = rest.facts
    profile.triggers = rest.triggers
    profile.of_upstreams = rest.of_origins
    profile.tracks = rest.tracks
    profile.rules_due = rest.rules_due
    profile.playbook_version = rest.playbook_version
    profile.playbook_tag = rest.playbook_tag
    profile.erased_at = rest.erased_at
    profile.first_dropped_at = rest.first_dropped_at
    sessions.convert(profile.sessions)
    profile.event_tags = tags_of(rest.event_ids)
    return profile


def _begun(customer: str, header: Header) -> Profile:
    """A profile with what is in the header."""
    profile = Profile(customer, header.identified)
    profile.stage, profile.next_deadline, profile.commit = header.stage, header.next_deadline, header.commit
    # A source that is newer than the profile has nothing applied to it yet.
    profile.applied = [*header.applied, *[-1] * (_READ - len(header.applied))]
    if header.offset_gaps is not None:
        profile.offset_gaps = {cause: set(offsets) for cause, offsets in header.offset_gaps.items()}
    return profile


def packed_size(part: object) -> int:
    """Bytes that a part of a profile takes, or a profile without its header, the outputs that wait for their commit and
    what was applied of origins: those depend on when and where it was worked on."""
    return len(_encode(_rest(part, [], None) if isinstance(part, Profile) else part))


def _rest(profile: Profile, pending: list[Pending], of_origins: dict[int, int] | None) -> list[object]:
    """What is packed behind the header: the fields of `PackedFields`, in its order; at an end, none that hardly
    anybody has."""
    # Fields of Structs all at once: reading them one by one takes longer.
    count, start, end, _, earlier = _astuple(profile.sessions)
    now, log, before, bought = _astuple(profile.cart)
    rest: list[object] = [
        profile.customer,
        False,
        (),
        0,
        pending,
        None,
        None,
        profile.entered_at,
        profile.sequence,
        profile.cycle,
        profile.orders_in_stage,
        profile.first_seen_at,
        profile.last_seen_at,
        profile.last_activity_at,
        profile.event_ids,
        (count, start, end, None, earlier) if earlier else (count, start, end),
        profile.session_id,
        profile.session_id_at,
        profile.subscribed,
        profile.subscribed_at,
        profile.signed_up,
        profile.product_views,
        profile.checkouts,
        profile.reviews,
        profile.referrals,
        profile.orders,
        profile.revenue,
        profile.currency,
        profile.other_currency_orders,
        profile.last_order_at,
        profile.dropped_order_at,
        profile.order_book,
        profile.order_notes,
        (now, log, before, bought) if bought else (now, log, before),
        profile.episode,
        profile.armed,
        profile.latest,
        profile.recent_steps,
        profile.weight,
        profile.type_counts,
        profile.facts,
        profile.triggers,
        of_origins,
        profile.tracks,
        profile.rules_due,
        profile.playbook_version,
        profile.playbook_tag,
    ]
    if profile.first_dropped_at is not None:
        rest += (profile.erased_at, profile.first_dropped_at)
    elif profile.erased_at >= 0:
        rest.append(profile.erased_at)
    return rest


def _header(data: bytes) -> tuple[Header, int]:
    """The header, and where it ends."""
    if not data:
        raise Corrupt("a packed profile is not empty")
    if data[0] > VERSION:
        raise NewerVersion(
            f"this profile was packed by a newer version of this program (format {data[0]}, known up to {VERSION}): "
            "upgrade this worker to that version; nothing was changed"
        )
    holes: dict[int, list[int]] | None = None
    begin = 0
    try:
        if data[0] == _WITH_HOLES:
            _, length = _BEFORE_HOLES.unpack_from(data)
            begin = _BEFORE_HOLES.size + length
            holes = _HOLES_DECODER.decode(memoryview(data)[_BEFORE_HOLES.size : begin])
        version, flags, next_deadline, commit, sources, stage_length = _FIXED.unpack_from(data, begin)
        applied = struct.unpack_from(f"<{sources}q", data, begin + _FIXED.size)
        start = begin + _FIXED.size + 8 * sources
        end = start + stage_length
        stage = data[start:end].decode()
        places: list[tuple[str, str]] = []
        if version == _WITH_PLACES:
            (length,) = _LENGTH.unpack_from(data, end)
            end += _LENGTH.size + length
            for line in data[end - length : end].decode().split("\n"):
                track, place = line.split("=", 1)
                places.append((track, place))
    except (struct.error, ValueError) as error:
        raise Corrupt(f"this is not a packed profile, or it is damaged: {error}") from error
    if version == 0:
        raise Corrupt("this is not a packed profile: there is no format 0")
    header = Header(
        version,
        bool(flags & _IDENTIFIED),
        stage if flags & _HAS_STAGE else None,
        next_deadline if flags & _HAS_DEADLINE else None,
        applied,
        commit,
        tuple(places),
        holes,
    )
    return header, end
