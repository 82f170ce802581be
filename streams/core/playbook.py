"""What a deployment's customers go through: the numbers, the track, and what profiles keep.

Whoever makes a `customer.Lifecycle` gives it one. The default is the shipped playbook; what another one leaves out
costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from streams.core.cart import OPERATIONS
from streams.core.facts import Plan
from streams.core.parts import OpKind
from streams.core.policy import Policy
from streams.core.tracks import LIFECYCLE, Track
from streams.core.triggers import Trigger


class Playbook(msgspec.Struct, frozen=True, kw_only=True):
    """The definition that the engine runs. Immutable: a changed one needs a new `Lifecycle`."""

    policy: Policy = Policy()
    track: Track = LIFECYCLE
    abandonment: bool = True
    """Whether episodes are kept and abandoned."""
    sessions: bool = True
    """Whether sessions are counted."""
    cart: Mapping[str, OpKind] = msgspec.field(default_factory=lambda: OPERATIONS)
    """What events of the clickstream do to the cart, by type."""
    counted_types: frozenset[str] = frozenset()
    """Events of these types are counted in `Profile.type_counts`, for the conditions of a track."""
    plan: Plan | None = None
    """What the rules ask to be kept in `Profile.facts`; None if nothing."""
    triggers: tuple[Trigger, ...] = ()
    """Asked in this order."""
