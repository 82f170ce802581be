"""Episodes and abandonments of a profile.

Profiles pack these structs field by field, in their order: append new fields with a default, never insert or remove.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from streams.core.model.cart import Click
from streams.core.model.items import Line

AbandonmentKind = Literal["browse", "cart", "checkout"]


class Episode(msgspec.Struct, array_like=True, gc=False):
    """A stretch of shopping, open until an order, a browse abandonment or expiry closes it."""

    first: Click
    newest_at: int
    """Time of its newest view, addition or checkout, ms."""
    newest: Click | None = None
    """None if that is the last of its views."""
    views: dict[str, Line] = {}
    """The last distinct products viewed, the most recent last."""
    abandoned: bool = False
    """True once its step 1 has come due, emitted or silenced, so that further steps may follow."""


class OpenAbandonment(msgspec.Struct, array_like=True, gc=False):
    """The customer's latest abandonment, as of its last step."""

    id: str
    kind: AbandonmentKind
    step1_at: int
    step1_activity_at: int
    """The last activity before step 1, ms."""
    step: int
    step_at: int
    last_activity_at: int
    episode_started_at: int
    lines: dict[str, Line]
    """Its content: lines of the cart or views, by product."""
    viewed: bool
    """True if its content is views."""
    mark: Click | None
    """The last event of the checkout; None if it is of another kind."""
    currency: str
    """The customer's currency at the last step, shown for an abandonment without items."""
    cart_id: str | None
    checkout_id: str | None
    session_id: str | None
    supersedes: str | None
    recent: int
    episode: Episode | None
    """The episode that a browse abandonment closed. A retraction opens it again."""
    open: bool = True
    """True unless it was recovered, retracted, expired or closed silently."""
    withheld: bool = False
    device: str | None = None
    """The anonymous id under which it was emitted, if that profile has been merged into this one since; else None."""
    items_cut: bool = False
    """True if the cart held more lines than are kept."""
