"""The definition of a deployment's lifecycle: numbers, tracks, triggers, and the aggregates that profiles keep.

`streams.playbooks` makes one from a file; `Lifecycle` runs it. A part that a playbook leaves out costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from streams.core.lifecycle.aggregates import AggregatePlan
from streams.core.lifecycle.cart_contents import OPERATIONS
from streams.core.lifecycle.tracks import Track
from streams.core.lifecycle.triggers import Trigger
from streams.core.model.cart import CartOperationKind
from streams.core.model.policy import Policy
from streams.core.rules.types import Type


class Playbook(msgspec.Struct, frozen=True, kw_only=True):
    """The definition that the engine runs. Immutable: a changed one needs a new `Lifecycle`."""

    name: str = "default"
    version: int = 0
    """Raised with each change of the definition. Profiles carry the version under which they were last processed."""
    digest: str = ""
    """Digest of the text. It distinguishes playbooks with the same name and version."""
    policy: Policy = Policy()
    tracks: tuple[Track, ...]
    """At least one. The first is the lifecycle: the stage that `Profile.stage` and metrics mean."""
    renamed: Mapping[int, Mapping[str, Mapping[str, str]]] = {}
    """Stages that a version renamed: version, track, old name to new name."""
    abandonment: bool = True
    """True if episodes are kept and abandoned."""
    sessions: bool = True
    """True if sessions are counted."""
    cart: Mapping[str, CartOperationKind] = msgspec.field(default_factory=lambda: OPERATIONS)
    """Cart operations of events of the clickstream, by type."""
    counted_types: frozenset[str] = frozenset()
    """Types of events that `Profile.type_counts` counts for the rules."""
    properties: Mapping[str, Type] = {}
    """Properties of events that rules read: they must be decoded."""
    plan: AggregatePlan | None = None
    """Aggregates that `Profile.aggregates` keeps for the rules; None if there are none."""
    triggers: tuple[Trigger, ...] = ()
    """Evaluated in this order."""

    @property
    def event_types(self) -> frozenset[str]:
        """Types of events that the definition names. Others are activity, and nothing else."""
        named = {*self.cart, *self.counted_types, *self.policy.passive_types}
        if self.plan is not None:
            named.update(self.plan.windows, self.plan.in_stage)
        return frozenset(named.union(*(trigger.events for trigger in self.triggers)))

    @property
    def tag(self) -> int:
        """Number that most probably differs for another text; 0 for a playbook without a text."""
        return int(self.digest[:8] or "0", 16)
