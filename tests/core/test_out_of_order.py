"""Input out of order within `lateness`: counts, cart, orders and times end as in time order."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from streams.core.model.policy import Policy
from streams.core.profile.profile import Profile
from tests.support.customer_history import MINUTE, SECOND, Event, click, item, order, run

LATENESS = Policy().lateness

products = st.sampled_from(["A", "B", None])
prices = st.sampled_from([None, 100, 250])
items = st.none() | st.lists(st.builds(item, products, st.integers(1, 2), prices), max_size=2).map(tuple)
cart_ids = st.sampled_from([None, "k-1", "k-2"])

# Cancellations and full refunds are left out: one that overtakes its completion intentionally takes away the effect of
# the completion on the cart.
cart_changes = st.tuples(
    st.just(click),
    st.fixed_dictionaries(
        {
            "type_": st.sampled_from(["product_viewed", "product_added", "product_added", "product_removed"]),
            "product_id": products,
            "price": prices,
            "cart_id": cart_ids,
            "quantity": st.integers(1, 3),
        }
    ),
)
drafts = st.one_of(
    cart_changes,
    cart_changes,
    cart_changes,
    st.tuples(
        st.just(click),
        st.fixed_dictionaries(
            {
                "type_": st.sampled_from(
                    ["cart_viewed", "checkout_started", "cart_emptied", "checkout_step_completed", "page_viewed"]
                ),
                "items": items,
                "cart_id": cart_ids,
                "session_id": st.sampled_from(["s-1", "s-2"]),
            }
        ),
    ),
    st.tuples(
        st.just(click),
        st.fixed_dictionaries(
            {"type_": st.sampled_from(["subscribed", "unsubscribed", "message_opened", "product_reviewed"])}
        ),
    ),
    st.tuples(
        st.just(order),
        st.fixed_dictionaries(
            {
                "order_id": st.sampled_from(["o-1", "o-2", "o-3"]),
                "type_": st.just("order_completed"),
                "items": items,
                "cart_id": cart_ids,
                "channel": st.sampled_from([None, "pos"]),
            }
        ),
    ),
    st.tuples(
        st.just(order),
        st.fixed_dictionaries(
            {
                "order_id": st.sampled_from(["o-1", "o-2", "o-3"]),
                "type_": st.sampled_from(["order_refunded", "order_fulfilled"]),
                "total": st.sampled_from([0, 10, 20]),
            }
        ),
    ),
    st.tuples(
        st.just(order),
        st.fixed_dictionaries(
            {
                "order_id": st.sampled_from(["o-1", "o-2", "o-3"]),
                "type_": st.just("order_updated"),
                "total": st.sampled_from([1000, 2000]),
            }
        ),
    ),
)
short = st.sampled_from([1, SECOND, 3 * SECOND])
gaps = short | short | st.sampled_from([LATENESS, LATENESS + 1, 10 * MINUTE, 30 * MINUTE - 1, 30 * MINUTE])


delays = st.sampled_from([0, LATENESS, 2 * SECOND])


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[list[Event], list[Event]]:
    """Return events at distinct times in time order, and as delivered, each up to `lateness` after newer ones."""
    at, completed, events = 0, set(), []
    for gap, (make, fields) in draw(st.lists(st.tuples(gaps, drafts), min_size=3, max_size=12)):
        at += gap
        order_id = fields.get("order_id")
        if fields["type_"] == "order_completed":
            if order_id in completed:  # the other one would be the first
                continue
            completed.add(order_id)
        events.append(make(at, **fields, event_id=f"e-{at}"))
    arrivals = {event.at: event.at + draw(delays) for event in events}
    return events, sorted(events, key=lambda event: arrivals[event.at])


def what_ends_the_same(profile: Profile) -> dict[str, Any]:
    names = [
        "first_seen_at", "last_seen_at", "last_activity_at", "session_id", "subscribed", "signed_up", "product_views",
        "checkouts", "reviews", "referrals", "orders", "revenue", "currency", "last_order_at", "order_book",
    ]  # fmt: skip
    found = {name: getattr(profile, name) for name in names}
    return found | {"sessions": profile.sessions.count, "cart": profile.cart.now}


@given(deliveries())
def test_events_out_of_order_within_the_lateness_end_as_in_time_order(
    delivery: tuple[list[Event], list[Event]],
) -> None:
    in_order, delivered = delivery
    if not in_order:
        return
    assert what_ends_the_same(run(delivered).alive) == what_ends_the_same(run(in_order).alive)
