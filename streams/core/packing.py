"""A profile as bytes, for the changelog and for memory.

A fixed header, which recovery reads alone, then the rest as MessagePack:

    u8 version | u8 flags | i64 next deadline, ms | i64 commit | u8 number of sources | u8 length of stage |
    i64 applied offset, per source | stage, UTF-8 | the profile without these, as an array

Little-endian. Flags: 1 identified, 2 has a next deadline, 4 is in a stage. An array that is shorter than the profile's
fields was packed before the last ones existed: those take their defaults. So a field is only ever appended, and
`VERSION` is raised when an older version could not read what is written, or would drop what matters.
"""

from __future__ import annotations

import copy
import struct
from typing import Final

import msgspec

from streams.core.activity import Source
from streams.core.profile import Profile
from streams.core.recent_ids import tags_of

VERSION: Final = 1

HEADER_ROOM: Final = 512
"""Bytes to allow for the header."""

_FIXED: Final = struct.Struct("<BBqqBB")
_IDENTIFIED, _HAS_DEADLINE, _HAS_STAGE = 1, 2, 4
_ENCODER: Final = msgspec.msgpack.Encoder()
_NONE: Final = bytearray()
_DECODER: Final = msgspec.msgpack.Decoder(Profile)


class Unreadable(ValueError):
    """A packed profile cannot be read. The message is a sentence for an operator."""


class NewerVersion(Unreadable):
    """It was written by a newer version of this program."""


class Corrupt(Unreadable):
    """It is not a packed profile."""


class Header(msgspec.Struct, frozen=True):
    """What recovery needs of a profile: its timer, its place in the population, and how fresh it is."""

    version: int
    identified: bool
    stage: str | None
    next_deadline: int | None
    applied: tuple[int, ...]
    """Per source, the last offset applied; -1: none."""
    commit: int

    @property
    def forgotten(self) -> bool:
        """Only its last outputs are kept, until they are known to be sent."""
        return self.stage is None


def pack(profile: Profile) -> bytes:
    """The profile as bytes. It is not changed."""
    stage = (profile.stage or "").encode()
    flags = (
        _IDENTIFIED * profile.identified
        | _HAS_DEADLINE * (profile.next_deadline is not None)
        | _HAS_STAGE * (profile.stage is not None)
    )
    applied = profile.applied
    header = _FIXED.pack(VERSION, flags, profile.next_deadline or 0, profile.commit, len(applied), len(stage))
    return b"".join((header, struct.pack(f"<{len(applied)}q", *applied), stage, _ENCODER.encode(_rest(profile))))


def peek(data: bytes) -> Header:
    """The header alone. Raises as `unpack` does."""
    return _header(data)[0]


def unpack(data: bytes) -> Profile:
    """The profile. Raises `NewerVersion`, or `Corrupt` if this is no packed profile."""
    header, end = _header(data)
    try:
        profile = _DECODER.decode(memoryview(data)[end:])
    except msgspec.DecodeError as error:
        raise Corrupt(f"this is not a packed profile, or it is damaged: {error}") from error
    profile.identified, profile.stage, profile.next_deadline = header.identified, header.stage, header.next_deadline
    profile.commit, profile.event_tags = header.commit, tags_of(profile.event_ids)
    # A source that is newer than the profile has nothing applied to it yet.
    profile.applied = [*header.applied, *[-1] * (len(Source) - len(header.applied))]
    return profile


def packed_size(part: object) -> int:
    """Bytes that a part of a profile takes, or a profile without its header and the outputs that wait for their commit:
    those depend on when and where it was worked on."""
    if isinstance(part, Profile):
        part = _rest(part)
        part.pending = []
    return len(_ENCODER.encode(part))


def _rest(profile: Profile) -> Profile:
    """What is packed behind the header."""
    rest = copy.copy(profile)
    rest.identified, rest.next_deadline, rest.commit, rest.applied, rest.stage = False, None, 0, [], None
    rest.event_tags = _NONE
    return rest


def _header(data: bytes) -> tuple[Header, int]:
    """The header, and where it ends."""
    if not data:
        raise Corrupt("a packed profile is not empty")
    if data[0] > VERSION:
        raise NewerVersion(
            f"this profile was packed by a newer version of this program (format {data[0]}, known up to {VERSION}): "
            "run that version again, or start from an empty state"
        )
    try:
        version, flags, next_deadline, commit, sources, stage_length = _FIXED.unpack_from(data)
        applied = struct.unpack_from(f"<{sources}q", data, _FIXED.size)
        start = _FIXED.size + 8 * sources
        stage = data[start : start + stage_length].decode()
    except (struct.error, UnicodeDecodeError) as error:
        raise Corrupt(f"this is not a packed profile, or it is damaged: {error}") from error
    if version == 0:
        raise Corrupt("this is not a packed profile: there is no format 0")
    header = Header(
        version=version,
        identified=bool(flags & _IDENTIFIED),
        stage=stage if flags & _HAS_STAGE else None,
        next_deadline=next_deadline if flags & _HAS_DEADLINE else None,
        applied=applied,
        commit=commit,
    )
    return header, start + stage_length
