"""Parameters of the core. The defaults are those of the shipped playbook. Units: ms, pieces, bytes."""

from __future__ import annotations

from typing import Final

import msgspec

from streams.core.model.abandonment import AbandonmentKind

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

PASSIVE_TYPES: Final = frozenset({"message_opened", "unsubscribed"})
"""Types of the clickstream that are passive under every playbook."""
REPORT_TYPES: Final = ("message_sent", "message_delivered", "message_bounced", "message_failed")
"""Types that report what the shop did. They are passive unless a playbook lists its own passive types."""
PASSIVE_CHANNELS: Final = frozenset({"pos", "retail", "subscription", "marketplace"})
"""Channels of orders that are passive under every playbook."""

LARGEST_AMOUNT = 2**63 - 1
"""Largest amount that can be packed, in minor units. Sums beyond it are cut to it."""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """Parameters of the core. The defaults are the shipped playbook; a value that the playbook does not name comes from
    the deployment (`streams.deployment.load_playbook`)."""

    currency: str = "EUR"
    """Currency shown for a profile without orders, and assumed for events that name none."""
    session_gap: int = 30 * MINUTE

    # abandonment
    browse_window: int = 30 * MINUTE
    cart_window: int = 60 * MINUTE
    checkout_window: int = 30 * MINUTE
    checkout_fresh: int = 24 * HOUR
    """An episode is a checkout while its last checkout event is less than this older than the last activity."""
    cart_ladder: tuple[int, ...] = (24 * HOUR, 72 * HOUR)
    """Times of steps 2, 3, … of a cart, counted from the last activity."""
    checkout_ladder: tuple[int, ...] = (24 * HOUR, 72 * HOUR)
    precedence: tuple[AbandonmentKind, ...] = ("checkout", "cart", "browse")
    """The kinds from the highest: an episode that could be several is the first of them. A kind that is left out is
    never abandoned."""
    browse_silent_after_order: int = 0
    """Time after the last order in which browsing is not abandoned."""
    cool_down: int = 7 * DAY
    cool_down_per_kind: bool = False
    """True if the cool-down silences other content of the same or a lower kind too."""
    recovery_window: int = 7 * DAY
    recent_window: int = 7 * DAY
    expiry: int = 30 * DAY

    # orders
    order_skew_named: int = HOUR
    """Time after an order up to which it reaches clicks that carry its cart id or checkout id."""
    order_skew_items: int = 5 * MINUTE
    """Time after an order up to which it reaches other clicks."""

    # passive events, beside those that are passive by definition (`streams.core.lifecycle.lifecycle`)
    passive_types: frozenset[str] = PASSIVE_TYPES.union(REPORT_TYPES)
    """Types of the clickstream that are no activity."""
    passive_channels: frozenset[str] = PASSIVE_CHANNELS
    """Channels of orders whose events are no activity."""

    # forgetting
    forget_identified: int | None = 400 * DAY
    """None: never."""
    forget_unidentified: int | None = 90 * DAY

    # aliases
    device_expiry: int = 400 * DAY
    """Time after a device was last seen at which its owners are forgotten."""
    cart_id_expiry: int = 30 * DAY
    """Time after the id of a cart or a checkout was last seen at which its alias is forgotten."""

    # out-of-order input
    lateness: int = 10 * SECOND

    # bounds
    event_ids: int = 512
    """Number of event ids remembered of a customer. 0 turns the search for duplicates off."""
    event_id_window: int = 24 * HOUR
    orders: int = 200
    cart_lines: int = 200
    viewed_products: int = 10
    profile_bytes: int = 64 * 1024
