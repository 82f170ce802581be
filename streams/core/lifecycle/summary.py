"""The summary of a customer that outputs carry, and the value of items."""

from __future__ import annotations

from collections.abc import Sequence

from streams.core.lifecycle.cart_contents import as_items
from streams.core.model.currencies import rounded_amount
from streams.core.model.items import Item
from streams.core.model.outputs import Summary
from streams.core.model.policy import LARGEST_AMOUNT
from streams.core.profile.profile import Profile


def summary(profile: Profile, currency: str) -> Summary:
    """Return the summary of the customer as of now. `currency` is used for a customer without one."""
    lines = profile.cart.now.lines
    currency = profile.currency or currency
    cart_value: int | None = 0
    if lines:
        cart_value, cart_currency = value(as_items(lines))
        if cart_currency != currency or profile.cart.now.cut:  # the summary names one currency
            cart_value = None
    revenue, number = profile.revenue, profile.orders - profile.other_currency_orders
    return Summary(
        first_seen_at=profile.first_seen_at,
        last_seen_at=profile.last_seen_at,
        sessions=profile.sessions.count,
        product_views=profile.product_views,
        orders=profile.orders,
        revenue=revenue,
        currency=currency,
        average_order_value=(2 * revenue + number) // (2 * number) if number else None,  # half up
        cart_items=sum(line.quantity for line in lines.values()),
        cart_value=cart_value,
    )


def value(items: Sequence[Item]) -> tuple[int | None, str | None]:
    """Return the sum of the items in minor units, rounded once, and its currency.

    The sum is None if there are no items, a price is missing, currencies differ or it exceeds `LARGEST_AMOUNT`. The
    currency is None unless the prices have exactly one.
    """
    currencies = {item.currency for item in items if item.price is not None}
    if len(currencies) != 1:
        return None, None
    total = 0
    for item in items:
        if item.price is None:
            return None, currencies.pop()
        total += item.price * item.quantity
    rounded = rounded_amount(total)
    return None if rounded > LARGEST_AMOUNT else rounded, currencies.pop()
