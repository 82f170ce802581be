"""The numbers of the default playbook, in one place. Units: ms, pieces, bytes."""

from __future__ import annotations

import msgspec

from streams.core.model.parts import AbandonmentKind

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

LARGEST_AMOUNT = 2**63 - 1
"""Minor units: what fits where amounts are packed. Sums beyond it are no longer told apart."""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How the core behaves. The defaults are the shipped playbook; what none names is the deployment's to say
    (`streams.deployment.load_playbook`)."""

    currency: str = "EUR"
    """Shown where a profile has no order yet, and taken for events that name none."""
    session_gap: int = 30 * MINUTE

    # abandonment
    browse_window: int = 30 * MINUTE
    cart_window: int = 60 * MINUTE
    checkout_window: int = 30 * MINUTE
    checkout_fresh: int = 24 * HOUR
    """An episode is a checkout while its last checkout event is less than this older than the last activity."""
    cart_ladder: tuple[int, ...] = (24 * HOUR, 72 * HOUR)
    """Steps 2, 3, … of a cart: due so long after the last activity."""
    checkout_ladder: tuple[int, ...] = (24 * HOUR, 72 * HOUR)
    precedence: tuple[AbandonmentKind, ...] = ("checkout", "cart", "browse")
    """Which kind an episode is that could be several, from the highest. One that is left out is never abandoned."""
    browse_silent_after_order: int = 0
    """So long after the last order, browsing is not abandoned."""
    cool_down: int = 7 * DAY
    cool_down_per_kind: bool = False
    """Whether other content of the same or a lower kind is silenced too."""
    recovery_window: int = 7 * DAY
    recent_window: int = 7 * DAY
    expiry: int = 30 * DAY

    # the lifecycle track
    dormant_after: int = 30 * DAY
    at_risk_after: int = 90 * DAY
    lapsed_after: int = 180 * DAY

    # forgetting
    forget_identified: int | None = 400 * DAY
    """None: never."""
    forget_unidentified: int | None = 90 * DAY

    # whose an id is
    device_expiry: int = 400 * DAY
    """So long after it was last seen it is forgotten whose a device is."""
    cart_id_expiry: int = 30 * DAY
    """The same of the id of a cart or a checkout."""

    # out-of-order input
    lateness: int = 10 * SECOND

    # bounds
    event_ids: int = 512
    """How many are remembered of a customer. 0: duplicates are not looked for."""
    event_id_window: int = 24 * HOUR
    orders: int = 200
    cart_lines: int = 200
    viewed_products: int = 10
    profile_bytes: int = 64 * 1024
