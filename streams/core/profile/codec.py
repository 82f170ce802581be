"""A profile as bytes, for the changelog, for memory and for disk.

A header, which recovery reads alone, precedes the other fields:

    u8 format | u8 flags | i64 next deadline, ms | i64 commit | i64 last applied offset of each source |
    u8 length of stage | stage, UTF-8 | the sections that the flags name |
    the other fields as a MessagePack array: `PackedFields`, or `PackedAlias`

Little-endian. Flags: 1 identified, 2 has a next deadline, 4 is in a stage, 8 is an alias. Each of three more flags says
that a section follows, in this order:

    16: i64 last applied offset of the repartition topic
    32: u32 length | stages in tracks other than the lifecycle, as `track=stage` lines, UTF-8
    64: u32 length | offset gaps (`streams.core.event_time.offset_gaps`) as a MessagePack map of arrays

The last fields of the array are omitted where they have their defaults. To add a field, append it with a default. Raise
`NEWEST_FORMAT` if programs that do not know the change could not read the bytes, or would drop data that matters.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec
from msgspec.structs import astuple

from streams.core.model.outputs import Pending
from streams.core.model.sources import InputId, UpstreamId
from streams.core.profile.fields import PackedAlias, PackedFields
from streams.core.profile.profile import Profile
from streams.core.profile.recent_ids import tags_of

NEWEST_FORMAT: Final = 1
"""The format that is written. Formats above it raise `NewerVersion`."""

HEADER_ROOM: Final = 512
"""Bytes to allow for the header."""

_FIXED: Final = struct.Struct("<BBqqqqB")
_OFFSET: Final = struct.Struct("<q")
_LENGTH: Final = struct.Struct("<I")
_IDENTIFIED: Final = 1
_HAS_DEADLINE: Final = 2
_HAS_STAGE: Final = 4
_IS_ALIAS: Final = 8
_HAS_FORWARDED: Final = 16
_HAS_PLACES: Final = 32
_HAS_OFFSET_GAPS: Final = 64
# Methods and functions of other libraries are looked up once.
_pack_fixed: Final = _FIXED.pack
_encode: Final = msgspec.msgpack.Encoder().encode
_astuple: Final = astuple
_DECODER: Final = msgspec.msgpack.Decoder(PackedFields)
_ALIAS_DECODER: Final = msgspec.msgpack.Decoder(PackedAlias)
_OFFSET_GAPS_DECODER: Final = msgspec.msgpack.Decoder(dict[InputId, list[int]])


class Unreadable(ValueError):
    """A packed profile cannot be read. The message is a sentence for an operator."""


class NewerVersion(Unreadable):
    """The profile was packed by a newer version of this program."""


class Corrupt(Unreadable):
    """The bytes are not a packed profile."""


class Header:
    """The part of a packed profile that recovery reads: next deadline, stages, and how fresh the record is."""

    def __init__(
        self,
        is_alias: bool,
        identified: bool,
        stage: str | None,
        next_deadline: int | None,
        applied: tuple[int, ...],
        commit: int,
        places: tuple[tuple[str, str], ...],
        offset_gaps: dict[InputId, list[int]] | None,
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
        self.is_alias = is_alias
        self.forgotten = stage is None and not is_alias
        """True if only the last outputs are kept, until they are known to be sent."""


def pack(profile: Profile) -> bytes:
    """Return the profile as bytes. Does not change the profile."""
    stage = b"" if profile.stage is None else profile.stage.encode()
    flags = 0
    if profile.identified:
        flags |= _IDENTIFIED
    if profile.next_deadline is not None:
        flags |= _HAS_DEADLINE
    if profile.stage is not None:
        flags |= _HAS_STAGE
    sections = b""
    if profile.applied_forwarded >= 0:
        flags |= _HAS_FORWARDED
        sections = _OFFSET.pack(profile.applied_forwarded)
    if profile.tracks is not None and (places := profile.places()):
        flags |= _HAS_PLACES
        lines = "\n".join([f"{track}={place}" for track, place in places]).encode()
        sections += _LENGTH.pack(len(lines)) + lines
    if profile.offset_gaps:
        flags |= _HAS_OFFSET_GAPS
        gaps = _encode({number: sorted(offsets) for number, offsets in sorted(profile.offset_gaps.items()) if offsets})
        sections += _LENGTH.pack(len(gaps)) + gaps
    alias = profile.alias
    if alias is None:
        fields = _encode(_fields(profile, profile.pending, profile.of_upstreams))
    else:
        flags |= _IS_ALIAS
        fields = _encode(PackedAlias(profile.customer, profile.pending, profile.of_upstreams, alias, profile.erased_at))
    deadline, clicks, orders = profile.next_deadline or 0, profile.applied_clicks, profile.applied_orders
    header = _pack_fixed(NEWEST_FORMAT, flags, deadline, profile.commit, clicks, orders, len(stage))
    return header + stage + sections + fields


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
    profile.of_upstreams = fields.of_upstreams
    profile.entered_at = fields.entered_at
    profile.sequence = fields.sequence
    profile.cycle = fields.cycle
    profile.orders_in_stage = fields.orders_in_stage
    profile.renewals_in_stage = fields.renewals_in_stage
    profile.kind_since = fields.kind_since
    profile.tracks = fields.tracks
    profile.rules_due = fields.rules_due
    profile.playbook_version = fields.playbook_version
    profile.playbook_tag = fields.playbook_tag
    profile.weight = fields.weight
    profile.first_seen_at = fields.first_seen_at
    profile.last_seen_at = fields.last_seen_at
    profile.last_activity_at = fields.last_activity_at
    profile.event_ids = fields.event_ids
    profile.sessions = fields.sessions
    profile.session_id = fields.session_id
    profile.session_id_at = fields.session_id_at
    profile.type_counts = fields.type_counts
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
    profile.awaits_step1 = fields.awaits_step1
    profile.latest = fields.latest
    profile.recent_steps = fields.recent_steps
    profile.aggregates = fields.aggregates
    profile.triggers = fields.triggers
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
        profile.offset_gaps = {number: set(offsets) for number, offsets in header.offset_gaps.items()}
    return profile


def packed_size(part: object) -> int:
    """Return the number of bytes of a part of a profile, or of a whole profile.

    Of a profile neither the header nor the pending outputs nor the applied offsets of upstream partitions are counted:
    these depend on when and where the profile was worked on.
    """
    return len(_encode(_fields(part, [], None) if isinstance(part, Profile) else part))


def _fields(profile: Profile, pending: list[Pending], of_upstreams: dict[UpstreamId, int] | None) -> list[object]:
    """Return the fields of `PackedFields`, in their order. Fields at the end that few profiles have are omitted."""
    # The fields of a Struct are read all at once. One by one takes longer.
    count, start, end, earlier = _astuple(profile.sessions)
    now, log, before, bought = _astuple(profile.cart)
    fields: list[object] = [
        profile.customer,
        pending,
        of_upstreams,
        profile.entered_at,
        profile.sequence,
        profile.cycle,
        profile.orders_in_stage,
        profile.tracks,
        profile.rules_due,
        profile.playbook_version,
        profile.playbook_tag,
        profile.weight,
        profile.first_seen_at,
        profile.last_seen_at,
        profile.last_activity_at,
        profile.event_ids,
        (count, start, end, earlier) if earlier else (count, start, end),
        profile.session_id,
        profile.session_id_at,
        profile.type_counts,
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
        profile.aggregates,
        profile.triggers,
    ]
    if profile.kind_since:
        fields += (profile.erased_at, profile.first_dropped_at, profile.renewals_in_stage, profile.kind_since)
    elif profile.renewals_in_stage:
        fields += (profile.erased_at, profile.first_dropped_at, profile.renewals_in_stage)
    elif profile.first_dropped_at is not None:
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
    if data[0] == 0:
        raise Corrupt("this is not a packed profile: there is no format 0")
    places: list[tuple[str, str]] = []
    gaps: dict[InputId, list[int]] | None = None
    try:
        _, flags, next_deadline, commit, clicks, orders, length = _FIXED.unpack_from(data)
        end = _FIXED.size + length
        stage = data[_FIXED.size : end].decode()
        applied: tuple[int, ...] = (clicks, orders)
        if flags & _HAS_FORWARDED:
            applied += _OFFSET.unpack_from(data, end)
            end += _OFFSET.size
        if flags & _HAS_PLACES:
            lines, end = _section(data, end)
            for line in lines.decode().split("\n"):
                track, place = line.split("=", 1)
                places.append((track, place))
        if flags & _HAS_OFFSET_GAPS:
            packed_gaps, end = _section(data, end)
            gaps = _OFFSET_GAPS_DECODER.decode(packed_gaps)
    except (struct.error, ValueError, msgspec.DecodeError) as error:
        raise Corrupt(f"this is not a packed profile, or it is damaged: {error}") from error
    header = Header(
        bool(flags & _IS_ALIAS),
        bool(flags & _IDENTIFIED),
        stage if flags & _HAS_STAGE else None,
        next_deadline if flags & _HAS_DEADLINE else None,
        applied,
        commit,
        tuple(places),
        gaps,
    )
    return header, end


def _section(data: bytes, begin: int) -> tuple[bytes, int]:
    """Return a section that begins with its length, and the offset of its end."""
    start = begin + _LENGTH.size
    length: int = _LENGTH.unpack_from(data, begin)[0]
    return data[start : start + length], start + length
