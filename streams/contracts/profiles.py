"""The document of a whole profile, for the topic `lifecycle-profiles` and the replay's `profiles.jsonl`."""

from __future__ import annotations

from typing import Any

from streams.contracts import times
from streams.contracts.outputs import amount, lines
from streams.core.lifecycle.cart_contents import as_items
from streams.core.model.outputs import Summary
from streams.core.profile.profile import Profile


def profile_document(profile: Profile, summary: Summary) -> dict[str, Any]:
    """Return a profile as `lifecycle-profiles.schema.json` describes it. `summary`: its `Lifecycle.summary`."""
    currency = summary.currency
    return {
        "customer_id": profile.customer,
        "identified": profile.identified,
        "subscribed": profile.subscribed,
        "stage": profile.stage,
        "stage_entered_at": times.text(profile.entered_at),
        "sequence": profile.sequence,
        "cycle": profile.cycle,
        "first_seen_at": times.text(summary.first_seen_at),
        "last_seen_at": times.text(summary.last_seen_at),
        "last_activity_at": None if profile.last_activity_at is None else times.text(profile.last_activity_at),
        "sessions": summary.sessions,
        "product_views": summary.product_views,
        "orders": summary.orders,
        "other_currency_orders": profile.other_currency_orders,
        "revenue": amount(summary.revenue, currency),
        "currency": currency,
        "average_order_value": amount(summary.average_order_value, currency),
        "last_order_at": None if profile.last_order_at is None else times.text(profile.last_order_at),
        "cart": lines(as_items(profile.cart.now.lines)),
        "cart_value": amount(summary.cart_value, currency),
        "checkouts": profile.checkouts,
        "reviews": profile.reviews,
        "referrals": profile.referrals,
        "signed_up": profile.signed_up,
        "tracks": [
            {
                "track": state.track,
                "stage": state.stage,
                "entered_at": times.text(state.entered_at),
                "sequence": state.sequence,
                "cycle": state.cycle,
            }
            for state in profile.tracks or ()
        ],
    }
