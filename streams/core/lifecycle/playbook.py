"""What a deployment's customers go through: the numbers, the track, and what profiles keep.

Whoever makes a `customer.Lifecycle` gives it one. The default is the shipped playbook; what another one leaves out
costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from streams.core.lifecycle.aggregates import AggregatePlan
from streams.core.lifecycle.cart import OPERATIONS
from streams.core.lifecycle.tracks import LIFECYCLE, Track
from streams.core.lifecycle.triggers import Trigger
from streams.core.model.cart import CartOperationKind
from streams.core.model.policy import Policy
from streams.core.rules.types import Type


class Playbook(msgspec.Struct, frozen=True, kw_only=True):
    """The definition that the engine runs. Immutable: a changed one needs a new `Lifecycle`."""

    name: str = "default"
    version: int = 0
    """Of the definition: profiles carry the one they were last worked on under. Raised by whoever changes it."""
    digest: str = ""
    """Of its text: tells apart what names and versions do not."""
    policy: Policy = Policy()
    tracks: tuple[Track, ...] = (LIFECYCLE,)
    """At least one. The first is the lifecycle: the stage that `Profile.stage` and metrics mean."""
    renamed: Mapping[int, Mapping[str, Mapping[str, str]]] = {}
    """Stages renamed when a version came: version, track, old name to new name."""
    abandonment: bool = True
    """Whether episodes are kept and abandoned."""
    sessions: bool = True
    """Whether sessions are counted."""
    cart: Mapping[str, CartOperationKind] = msgspec.field(default_factory=lambda: OPERATIONS)
    """What events of the clickstream do to the cart, by type."""
    counted_types: frozenset[str] = frozenset()
    """Events of these types are counted in `Profile.type_counts`, for the conditions of a track."""
    properties: Mapping[str, Type] = {}
    """Properties of events that rules read: to be decoded."""
    plan: AggregatePlan | None = None
    """What the rules ask to be kept in `Profile.facts`; None if nothing."""
    triggers: tuple[Trigger, ...] = ()
    """Asked in this order."""

    @property
    def tag(self) -> int:
        """A number that another text is most unlikely to have; 0 of a playbook without a text."""
        return int(self.digest[:8] or "0", 16)
