"""The common job as a playbook: what `benchmarks.job` asks for, run by the real engine."""

from __future__ import annotations

from typing import Final

from benchmarks.job import RULES, TYPES
from streams.core.parts import OpKind
from streams.core.playbook import Playbook
from streams.core.policy import Policy
from streams.core.profile import Profile
from streams.core.tracks import Condition, Track, Transition


def _counted(kind: str, number: int) -> Condition:
    def condition(profile: Profile, active: bool) -> bool:
        return profile.type_counts.get(kind, 0) >= number

    return condition


PLAYBOOK: Final = Playbook(
    policy=Policy(event_ids=0, forget_identified=None, forget_unidentified=None),
    track=Track(
        "lifecycle", "visitor", tuple(Transition(of, to, _counted(kind, number)) for of, to, kind, number in RULES)
    ),
    abandonment=False,
    sessions=False,
    cart={
        "product_added": OpKind.ADD,
        "product_removed": OpKind.REMOVE,
        "order_completed": OpKind.EMPTY,
    },
    counted_types=frozenset(TYPES),
)
