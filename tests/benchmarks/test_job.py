"""The common job: its events have the documented properties, and the oracle is right in cases that a human can
check."""

from __future__ import annotations

import json
from collections import Counter
from itertools import islice, pairwise
from typing import Any

import pytest

from benchmarks.job import CUSTOMERS, START_MS, STEP_MS, TYPES, differences, events, oracle

NUMBER = 50_000


@pytest.fixture(scope="module")
def records() -> list[tuple[bytes, bytes]]:
    return list(events(NUMBER))


def test_the_same_seed_gives_the_same_events_and_a_longer_run_begins_with_a_shorter(
    records: list[tuple[bytes, bytes]],
) -> None:
    assert list(islice(events(NUMBER * 2), NUMBER)) == records
    assert list(events(10, seed=1)) != records[:10]


def test_events_are_keyed_by_customer_in_order_of_time_and_of_about_220_bytes(
    records: list[tuple[bytes, bytes]],
) -> None:
    documents = [json.loads(value) for _, value in records]
    assert [key.decode() for key, _ in records] == [document["customer_id"] for document in documents]
    times = [document["occurred_at"] for document in documents]
    assert times[0] == START_MS
    assert all(later - earlier == STEP_MS for earlier, later in pairwise(times))
    assert 200 < sum(len(value) for _, value in records) / NUMBER < 240


def test_types_have_their_shares(records: list[tuple[bytes, bytes]]) -> None:
    counts = Counter(json.loads(value)["type"] for _, value in records)
    assert counts.keys() == TYPES.keys()
    assert sum(TYPES.values()) == 100
    for kind, share in TYPES.items():
        assert abs(100 * counts[kind] / NUMBER - share) < 1


def test_a_fifth_of_the_customers_does_most_of_the_events(records: list[tuple[bytes, bytes]]) -> None:
    counts = Counter(key for key, _ in records)
    busiest = sum(count for _, count in counts.most_common(CUSTOMERS // 5))
    assert 0.7 < busiest / NUMBER < 0.9


# -- the oracle


def outputs_of(*kinds: str, customer: str = "c1") -> list[dict[str, Any]]:
    """Return the outputs for events of a customer at intervals of one second."""
    values = [
        {"type": kind, "customer_id": customer, "occurred_at": second * 1000, "product_id": "p1", "quantity": 1}
        for second, kind in enumerate(kinds)
    ]
    return oracle(iter([(b"", json.dumps(value).encode()) for value in values])).get(customer, [])


def stages(*kinds: str) -> list[str]:
    return [output["to"] for output in outputs_of(*kinds)]


def test_the_first_event_makes_a_visitor() -> None:
    assert outputs_of("page_viewed") == [{"customer": "c1", "from": None, "to": "visitor", "at": 0, "sequence": 1}]


def test_a_change_bears_the_time_of_its_event_and_the_next_number() -> None:
    assert outputs_of("page_viewed", "product_added", "order_completed")[1:] == [
        {"customer": "c1", "from": "visitor", "to": "cart", "at": 1000, "sequence": 2},
        {"customer": "c1", "from": "cart", "to": "customer", "at": 2000, "sequence": 3},
    ]


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (["product_viewed"] * 2, ["visitor"]),
        (["product_viewed"] * 3, ["visitor", "engaged"]),
        (["product_viewed"] * 3 + ["product_added"], ["visitor", "engaged", "cart"]),
        (["checkout_started", "product_added"], ["visitor", "checkout"]),
        (["order_completed"], ["visitor", "customer"]),
        (["order_completed"] * 2, ["visitor", "customer", "repeat"]),
        (["order_completed"] * 4, ["visitor", "customer", "repeat"]),
        (["order_completed"] * 6, ["visitor", "customer", "repeat", "loyal"]),
        (["order_completed", "product_added", "checkout_started"], ["visitor", "customer"]),
        (["product_removed", "page_viewed"], ["visitor"]),
    ],
)
def test_stages_follow_the_rules_of_the_job(kinds: list[str], expected: list[str]) -> None:
    assert stages(*kinds) == expected


def test_comparison_lists_differences_and_is_empty_for_equal_stages() -> None:
    expected = {"c1": outputs_of("page_viewed", "product_added"), "c2": outputs_of("page_viewed", customer="c2")}
    assert differences(expected, {customer: list(outputs) for customer, outputs in expected.items()}) is None
    assert "1 customers differ, e.g. c1" in str(differences(expected, {**expected, "c1": expected["c1"][::-1]}))
    assert "1 customers differ, e.g. c2" in str(differences(expected, {"c1": expected["c1"]}))
    assert "1 customers differ, e.g. c3" in str(differences(expected, {**expected, "c3": []}))
    assert "c1" in str(differences(expected, {**expected, "c1": expected["c1"] * 2}))
