"""Profiles on both sides of every bound in the rules of the default lifecycle."""

from __future__ import annotations

import itertools

from streams.core.model.currencies import PIECE
from streams.core.model.items import Line
from streams.core.profile.profile import Profile


def boundary_profiles() -> list[tuple[Profile, bool]]:
    """Return such profiles, each with True after activity and with False after a passive event."""
    found = []
    for orders, (here, renewals), (views, cart, checkout), (signed_up, subscribed), praise, active in itertools.product(
        (0, 1, 2, 4, 5), ((0, 0), (1, 0), (0, 1)),
        ((0, 0, 0), (2, 0, 0), (3, 0, 0), (0, 1, 0), (0, 0, 1)),
        ((False, None), (True, None), (False, False), (False, True)), ((0, 0), (1, 0), (0, 1)), (True, False),
    ):  # fmt: skip
        profile = Profile("c", True)
        profile.orders, profile.orders_in_stage, profile.renewals_in_stage = orders, here, renewals
        profile.product_views, profile.checkouts = views, checkout
        profile.signed_up, profile.subscribed = signed_up, subscribed
        profile.reviews, profile.referrals = praise
        if cart:
            profile.cart.now.lines["p"] = Line(None, None, "EUR", cart * PIECE, 0)
        found.append((profile, active))
    return found
