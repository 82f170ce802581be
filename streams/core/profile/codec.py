"""A profile as bytes, for the changelog, for memory and for disk.

A fixed header, which recovery reads alone, precedes the fields as MessagePack:

    u8 format | u8 flags | i64 next deadline, ms | i64 commit | u8 number of offsets | u8 length of stage |
    i64 last applied offset of each source and, if any, of the repartition topic | stage, UTF-8 |
    in format 2 only: u16 length of places, places, UTF-8 |
    the other fields as an array: `PackedFields`, or in format 3 `PackedAlias`

Little-endian. Flags: 1 identified, 2 has a next deadline, 4 is in a stage. Places are the stages in tracks other than
the lifecycle, as `track=stage` lines.

All four formats are in use. Format 1 is a profile without places, 2 one with places, 3 an alias. Format 4 wraps one of
the others if the profile has offset gaps (`streams.core.event_time.offset_gaps`):
u8 4 | u32 length of gaps | gaps, as MessagePack | the same in format 1, 2 or 3.

The last fields of the array are omitted where they have their defaults. To add a field, append it with a default. Raise
`NEWEST_FORMAT`, with a format of its own, if programs that do not know the field could not read the bytes, or would
drop data that matters.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec
from msgspec.structs import astuple

from streams.core.event_time.inputs import REPARTITION
from streams.core.model.outputs import Pending
from streams.core.profile.fields import PackedAlias, PackedFields
from streams.core.profile.profile import Profile
from streams.core.profile.recent_ids import tags_of

_WITHOUT_PLACES: Final = 1
_WITH_PLACES: Final = 2
_ALIAS: Final = 3
_WITH_OFFSET_GAPS: Final = 4
NEWEST_FORMAT: Final = _WITH_OFFSET_GAPS
"""Formats above it raise `NewerVersion`."""

HEADER_ROOM: Final = 512
"""Bytes to allow for the header."""

_FIXED: Final = struct.Struct("<BBqqBB")
_USUAL: Final = struct.Struct("<BBqqBBqq")
"""`_FIXED` with the offsets of both sources behind it. Most profiles have no others."""
_LENGTH: Final = struct.Struct("<H")
_BEFORE_OFFSET_GAPS: Final = struct.Struct("<BI")
_IDENTIFIED, _HAS_DEADLINE, _HAS_STAGE = 1, 2, 4
_OFFSET_COUNTS: Final = (REPARTITION, REPARTITION + 1)
"""Number of applied offsets in a header: one for each source, and possibly one for the repartition topic."""
# Methods and functions of other libraries are looked up once.
_pack_usual: Final = _USUAL.pack
_encode: Final = msgspec.msgpack.Encoder().encode
_astuple: Final = astuple
_DECODER: Final = msgspec.msgpack.Decoder(PackedFields)
_ALIAS_DECODER: Final = msgspec.msgpack.Decoder(PackedAlias)
_OFFSET_GAPS_DECODER: Final = msgspec.msgpack.Decoder(dict[int, list[int]])


class Unreadable(ValueError):
    """A packed profile cannot be read. The message is a sentence for an operator."""


class NewerVersion(Unreadable):
    """The profile was packed by a newer version of this program."""


class Corrupt(Unreadable):
    """The bytes are not a packed profile."""


class Header:
    """The part of a packed profile that recovery reads: next deadline, stages, and how fresh the record is.

    `format_number` is the format behind any offset gaps: 1, 2 or 3.
    """

    def __init__(
        self,
        format_number: int,
        identified: bool,
        stage: str | None,
        next_deadline: int | None,
        applied: tuple[int, ...],
        commit: int,
        places: tuple[tuple[str, str], ...],
        offset_gaps: dict[int, list[int]] | None,
    ) -> None:
        self.identified = identified
        self.stage = stage
        self.next_deadline = next_deadline
        self.applied = applied
        """See `Profile.applied`."""
        self.commit = commit
        self.places = places
        """See `Profile.places`."""
        self.offset_gaps = offset_gaps
        """See `Profile.offset_gaps`; the offsets are sorted."""
        self.is_alias = format_number == _ALIAS
        self.forgotten = stage is None and not self.is_alias
        """True if only the last outputs are kept, until they are known to be sent."""


def pack(profile: Profile) -> bytes:
    """Return the profile as bytes. Does not change the profile."""
    if profile.offset_gaps:
        gaps = _encode({cause: sorted(offsets) for cause, offsets in sorted(profile.offset_gaps.items()) if offsets})
        return _BEFORE_OFFSET_GAPS.pack(_WITH_OFFSET_GAPS, len(gaps)) + gaps + _pack_without_gaps(profile)
    return _pack_without_gaps(profile)


def _pack_without_gaps(profile: Profile) -> bytes:
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
    format_number = _ALIAS if alias is not None else _WITH_PLACES if places else _WITHOUT_PLACES
    deadline = profile.next_deadline or 0
    if profile.applied_forwarded < 0:
        clicks, orders = profile.applied_clicks, profile.applied_orders
        header = _pack_usual(format_number, flags, deadline, profile.commit, 2, len(stage), clicks, orders)
    else:
        applied = profile.applied
        header = _FIXED.pack(format_number, flags, deadline, profile.commit, len(applied), len(stage))
        header += struct.pack(f"<{len(applied)}q", *applied)
    header += stage
    if places:
        header += _LENGTH.pack(len(places)) + places
    if alias is not None:
        return header + _encode(
            PackedAlias(profile.customer, alias, profile.pending, profile.of_upstreams, profile.erased_at)
        )
    return header + _encode(_fields(profile, profile.pending, profile.of_upstreams))


def pack_to_move(profile: Profile) -> bytes:
    """Return the profile as bytes, for a merge into another profile.

    Leaves out the fields that depend on the task: pending outputs, applied offsets, offset gaps and the commit.
    """
    bare = unpack(pack(profile))
    bare.pending, bare.of_upstreams, bare.offset_gaps, bare.commit = [], None, None, 0
    bare.applied_clicks = bare.applied_orders = bare.applied_forwarded = -1
    return pack(bare)


def peek(data: bytes) -> Header:
    """Return the header alone. Raises the same errors as `unpack`."""
    return _read_header(data)[0]


def unpack(data: bytes) -> Profile:
    """Return the profile. Raises `NewerVersion`, or `Corrupt` if the bytes are not a packed profile."""
    header, end = _read_header(data)
    try:
        if header.is_alias:
            packed = _ALIAS_DECODER.decode(memoryview(data)[end:])
            profile = _from_header(packed.customer, header)
            profile.alias, profile.pending, profile.of_upstreams = packed.alias, packed.pending, packed.of_upstreams
            profile.erased_at = packed.erased_at
            return profile
        fields = _DECODER.decode(memoryview(data)[end:])
    except msgspec.DecodeError as error:
        raise Corrupt(f"this is not a packed profile, or it is damaged: {error}") from error
    profile = _from_header(fields.customer, header)
    profile.pending = fields.pending
    profile.entered_at = fields.entered_at
    profile.sequence = fields.sequence
    profile.cycle = fields.cycle
    profile.orders_in_stage = fields.orders_in_stage
    profile.first_seen_at = fields.first_seen_at
    profile.last_seen_at = fields.last_seen_at
    profile.last_activity_at = fields.last_activity_at
    profile.event_ids = fields.event_ids
    profile.sessions = fields.sessions
    profile.session_id = fields.session_id
    profile.session_id_at = fields.session_id_at
    profile.subscribed = fields.subscribed
    profile.subscribed_at = fields.subscribed_at
    profile.signed_up = fields.signed_up
    profile.product_views = fields.product_views
    profile.checkouts = fields.checkouts
    profile.reviews = fields.reviews
    profile.referrals = fields.referrals
    profile.orders = fields.orders
    profile.revenue = fields.revenue
    profile.currency = fields.currency
    profile.other_currency_orders = fields.other_currency_orders
    profile.last_order_at = fields.last_order_at
    profile.dropped_order_at = fields.dropped_order_at
    profile.order_book = fields.order_book
    profile.order_notes = fields.order_notes
    profile.cart = fields.cart
    profile.episode = fields.episode
    profile.awaits_step1 = fields.armed
    profile.latest = fields.latest
    profile.recent_steps = fields.recent_steps
    profile.weight = fields.weight
    profile.type_counts = fields.type_counts
    profile.aggregates = fields.facts
    profile.triggers = fields.triggers
    profile.of_upstreams = fields.of_upstreams
    profile.tracks = fields.tracks
    profile.rules_due = fields.rules_due
    profile.playbook_version = fields.playbook_version
    profile.playbook_tag = fields.playbook_tag
    profile.erased_at = fields.erased_at
    profile.first_dropped_at = fields.first_dropped_at
    profile.event_tags = tags_of(fields.event_ids)
    return profile


def _from_header(customer: str, header: Header) -> Profile:
    """Return a new profile with the fields that are in the header."""
    profile = Profile(customer, header.identified)
    profile.stage, profile.next_deadline, profile.commit = header.stage, header.next_deadline, header.commit
    profile.applied = list(header.applied)
    if header.offset_gaps is not None:
        profile.offset_gaps = {cause: set(offsets) for cause, offsets in header.offset_gaps.items()}
    return profile


def packed_size(part: object) -> int:
    """Return the number of bytes of a part of a profile, or of a whole profile.

    Of a profile neither the header nor the pending outputs nor the applied offsets of upstream partitions are counted:
    these depend on when and where the profile was worked on.
    """
    return len(_encode(_fields(part, [], None) if isinstance(part, Profile) else part))


def _fields(profile: Profile, pending: list[Pending], of_upstreams: dict[int, int] | None) -> list[object]:
    """Return the fields of `PackedFields`, in their order. Fields at the end that few profiles have are omitted."""
    # The fields of a Struct are read all at once. One by one takes longer.
    count, start, end, _, earlier = _astuple(profile.sessions)
    now, log, before, bought = _astuple(profile.cart)
    fields: list[object] = [
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
        profile.awaits_step1,
        profile.latest,
        profile.recent_steps,
        profile.weight,
        profile.type_counts,
        profile.aggregates,
        profile.triggers,
        of_upstreams,
        profile.tracks,
        profile.rules_due,
        profile.playbook_version,
        profile.playbook_tag,
    ]
    if profile.first_dropped_at is not None:
        fields += (profile.erased_at, profile.first_dropped_at)
    elif profile.erased_at >= 0:
        fields.append(profile.erased_at)
    return fields


def _read_header(data: bytes) -> tuple[Header, int]:
    """Return the header and the offset of its end."""
    if not data:
        raise Corrupt("a packed profile is not empty")
    if data[0] > NEWEST_FORMAT:
        raise NewerVersion(
            f"this profile was packed by a newer version of this program (format {data[0]}, known up to "
            f"{NEWEST_FORMAT}): upgrade this worker to that version; nothing was changed"
        )
    gaps: dict[int, list[int]] | None = None
    begin = 0
    try:
        if data[0] == _WITH_OFFSET_GAPS:
            _, length = _BEFORE_OFFSET_GAPS.unpack_from(data)
            begin = _BEFORE_OFFSET_GAPS.size + length
            gaps = _OFFSET_GAPS_DECODER.decode(memoryview(data)[_BEFORE_OFFSET_GAPS.size : begin])
        format_number, flags, next_deadline, commit, offsets, stage_length = _FIXED.unpack_from(data, begin)
        if offsets not in _OFFSET_COUNTS:
            raise ValueError(f"it has {offsets} offsets")
        applied = struct.unpack_from(f"<{offsets}q", data, begin + _FIXED.size)
        start = begin + _FIXED.size + 8 * offsets
        end = start + stage_length
        stage = data[start:end].decode()
        places: list[tuple[str, str]] = []
        if format_number == _WITH_PLACES:
            (length,) = _LENGTH.unpack_from(data, end)
            end += _LENGTH.size + length
            for line in data[end - length : end].decode().split("\n"):
                track, place = line.split("=", 1)
                places.append((track, place))
    except (struct.error, ValueError) as error:
        raise Corrupt(f"this is not a packed profile, or it is damaged: {error}") from error
    if format_number == 0:
        raise Corrupt("this is not a packed profile: there is no format 0")
    header = Header(
        format_number,
        bool(flags & _IDENTIFIED),
        stage if flags & _HAS_STAGE else None,
        next_deadline if flags & _HAS_DEADLINE else None,
        applied,
        commit,
        tuple(places),
        gaps,
    )
    return header, end
