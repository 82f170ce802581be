"""`lifecycle plan`: which customers a playbook would move, counted from the live state of a group.

Nothing is sent, written or committed. The same is said by a worker that starts with a higher version.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from streams.core.lifecycle.playbook import Playbook
from streams.core.lifecycle.stages import Stages
from streams.core.model.outputs import Output, StageChange
from streams.core.profile.codec import unpack
from streams.errors import UserError
from streams.settings import Settings
from streams.shell.commit.playbook_history import PlaybookId, migrates, of_commits, playbook_id, refusal
from streams.shell.worker.group_state import GroupState, open_group

AT_START_S: Final = 20.0
"""Seconds that a starting worker counts for. It is not ready meanwhile."""
NO_STAGE: Final = "(none)"

Move = tuple[str, str | None, str | None]
"""Track, stage that is left, stage that is entered."""


class Moves:
    """The counts of a plan, or of one partition."""

    def __init__(self) -> None:
        self.customers = 0
        self.moving = 0
        self.by_stage: Counter[Move] = Counter()
        self.read = 0
        """Partitions counted."""

    def add(self, other: Moves) -> None:
        """Add the counts of other partitions."""
        self.customers += other.customers
        self.moving += other.moving
        self.by_stage.update(other.by_stage)
        self.read += other.read

    def count(self, stages: Stages, records: Iterable[bytes], now: int) -> Moves:
        """Count the packed profiles of one partition, as if each had an event now (ms). Return self."""
        for record in records:
            profile = unpack(record)
            if profile.alias is not None or profile.stage is None:
                continue
            self.customers += 1
            outputs: list[Output] = []
            if stages.has_other_playbook(profile):
                stages.adopt_playbook(profile, now, outputs)
            ends: dict[str, tuple[str | None, str | None]] = {}
            for change in outputs:
                assert isinstance(change, StageChange)
                first = ends[change.track][0] if change.track in ends else change.from_stage
                ends[change.track] = first, change.to_stage
            moved = [(track, left, entered) for track, (left, entered) in ends.items() if left != entered]
            self.by_stage.update(moved)
            self.moving += bool(moved)
        self.read += 1
        return self


def lines(moves: Moves, partitions: int) -> Iterator[str]:
    """Return what is counted, as lines for people."""
    part = "" if moves.read == partitions else f" in the first {moves.read} of {partitions} partitions"
    stay = moves.customers - moves.moving
    yield f"Of {moves.customers:,} customers{part}, {stay:,} stay in their stages, and {moves.moving:,} move."
    rows = sorted(moves.by_stage.items(), key=lambda row: (row[0][0], -row[1], str(row[0])))
    shown = [(track, f"{left or NO_STAGE} -> {entered or NO_STAGE}") for (track, left, entered), _ in rows]
    track_width = max((len(track) for track, _ in shown), default=0)
    move_width = max((len(move) for _, move in shown), default=0)
    for (track, move), (_, number) in zip(shown, rows, strict=True):
        yield f"  {track:{track_width}}  {move:{move_width}}  {number:,}"


def _heading(own: PlaybookId, committed: Sequence[PlaybookId]) -> str:
    names = " and ".join(map(str, committed))
    return f"This group's last commits were made under the playbook {names}; counted is the move to {own}."


async def _count(group: GroupState, stages: Stages, moves: Moves) -> None:
    """Add the counts of each partition to `moves`, once it is counted: the caller may not wait for all."""
    for number in group.numbers:
        records = await group.profiles(number)
        moves.add(await asyncio.to_thread(Moves().count, stages, records.values(), time.time_ns() // 1_000_000))


async def plan(settings: Settings, playbook: Playbook) -> list[str]:
    """Return the plan for `playbook`. Raises `UserError` if the group has no state."""
    own = playbook_id(playbook)
    async with open_group(settings) as group:
        committed = of_commits(await group.fingerprints())
        if not group.numbers:
            raise UserError(
                f"the group {settings.app_id} has no state on {settings.broker}: set LIFECYCLE_APP_ID and "
                "LIFECYCLE_BROKER as its workers have them."
            )
        moves = Moves()
        await _count(group, Stages(playbook, settings.id_namespace), moves)
        said = [_heading(own, committed)] if committed else []
        said += lines(moves, len(group.numbers))
        if refusal(own, committed) is not None:
            said.append("A worker with this playbook would start only with --accept-playbook.")
        return [*said, "Nothing was sent, and nothing was changed."]


async def check(
    settings: Settings, playbook: Playbook, *, accept: bool, say: Callable[[str], None], at_most_s: float = AT_START_S
) -> None:
    """Check at a worker's start that it may have this playbook, and say who would move if it is a new one.

    Raises `UserError` if it may not, unless `accept`.
    """
    own = playbook_id(playbook)
    async with open_group(settings) as group:
        committed = of_commits(await group.fingerprints())
        if not accept and (reason := refusal(own, committed)) is not None:
            raise UserError(reason)
        if not migrates(own, committed):
            return
        say(_heading(own, committed))
        moves = Moves()
        try:
            async with asyncio.timeout(at_most_s):
                await _count(group, Stages(playbook, settings.id_namespace), moves)
        except TimeoutError:
            say("A worker does not wait for the rest of the count: `lifecycle plan` counts everything.")
        for line in lines(moves, len(group.numbers)):
            say(line)
        say("Each of them moves at the next event or deadline.")


def run(settings: Settings, playbook: Playbook) -> list[str]:
    """Return the lines of `lifecycle plan`. Called outside an event loop."""
    return asyncio.run(plan(settings, playbook))
