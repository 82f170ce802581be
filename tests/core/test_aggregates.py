"""The aggregates that profiles keep because rules read them, and their bounds. Values:
tests/property/test_rules_agree."""

from __future__ import annotations

from collections import Counter

import pytest

from streams.core.lifecycle.aggregates import MOST_CREDITS, MOST_NAMES, AggregatePlan
from streams.core.lifecycle.lifecycle import Lifecycle
from streams.core.model.aggregates import Aggregates
from streams.core.model.counters import EngineCounters
from streams.core.model.event import Event
from streams.core.model.policy import Policy
from streams.core.profile.codec import pack, packed_size, unpack
from streams.core.profile.profile import Profile
from streams.core.rules import Type, Vocabulary, compile_rule
from streams.core.rules.requirements import MOST_BUCKETS, KeptProperty, bucket_width, combine_requirements
from tests.support.customer_history import DAY, HOUR, MINUTE, SECOND, T0, click, item, order
from tests.support.default_playbook import default_playbook

VOCABULARY = Vocabulary(
    event_types=["credit_granted", "credit_spent"],
    properties={"plan": Type.TEXT, "budget": Type.MONEY},
    kept=[KeptProperty("plan", Type.TEXT, "plan", ["signed_up"]), KeptProperty("budget", Type.MONEY, "budget")],
)


def played(rules: list[str], events: list[Event], policy: Policy = Policy()) -> tuple[Profile, EngineCounters]:
    needs = combine_requirements(compile_rule(text, VOCABULARY, None).needs for text in rules)
    playbook = default_playbook(policy=policy, plan=AggregatePlan(needs, "EUR"), counted_types=needs.counted_types)
    lifecycle, counts = Lifecycle(playbook), EngineCounters()
    profile = lifecycle.new("c-1", True)
    for event in events:
        lifecycle.apply(profile, event, [], counts)
    return profile, counts


def value(rule: str, profile: Profile, at: int) -> object:
    return compile_rule(rule, VOCABULARY, None).value(profile, None, T0 + at)


@pytest.mark.parametrize(
    ("window", "width"),
    [
        (SECOND, SECOND),
        (HOUR, 30 * SECOND),
        (DAY, 15 * MINUTE),
        (7 * DAY, 2 * HOUR),
        (30 * DAY, 6 * HOUR),
        (365 * DAY, 3 * DAY),
    ],
)
def test_window_has_the_expected_resolution(window: int, width: int) -> None:
    assert bucket_width(window) == width


def test_a_window_keeps_no_more_buckets_than_it_has() -> None:
    profile, _ = played(
        ["count('page_viewed', last='1h') > 0"], [click(n * 30 * SECOND) for n in range(1_000)]
    )  # fmt: skip
    assert profile.aggregates is not None
    (buckets,) = profile.aggregates.windows.values()
    assert len(buckets) <= MOST_BUCKETS + 1
    assert value("count('page_viewed', last='1h')", profile, 999 * 30 * SECOND) == 121


def test_aggregates_that_no_rule_reads_are_not_kept() -> None:
    profile, _ = played(["orders > 1"], [click(0, "product_viewed", category="baby"), order(1)])
    assert profile.aggregates == Aggregates()
    lifecycle = Lifecycle(default_playbook())
    profile = lifecycle.new("c-1", True)
    lifecycle.apply(profile, click(0), [], Counter())
    assert profile.aggregates is None


def test_latest_categories_and_those_that_rules_name_are_kept() -> None:
    rules = ["bought('c-0')", "known(category_due_at())"]
    events = [order(n, f"o-{n}", items=(item("p", category=f"c-{n}"),)) for n in range(MOST_NAMES + 5)]
    profile, counts = played(rules, events)
    assert profile.aggregates is not None
    assert list(profile.aggregates.categories_bought) == ["c-0", *(f"c-{n}" for n in range(5, MOST_NAMES + 5))]
    assert counts["trimmed", "categories_bought"] == 4


def test_categories_that_rules_name_displace_no_others() -> None:
    """The profile has two named categories, and one fewer of the others than it may keep."""
    rules = ["bought('c-0') or bought('c-1')", "known(category_due_at())"]
    events = [order(n, f"o-{n}", items=(item("p", category=f"c-{n}"),)) for n in range(MOST_NAMES + 1)]
    profile, counts = played(rules, events)
    assert profile.aggregates is not None
    assert len(profile.aggregates.categories_bought) == MOST_NAMES + 1
    assert not counts["trimmed", "categories_bought"]


def test_property_is_kept_from_the_latest_event_that_has_it() -> None:
    events = [
        click(5, "signed_up", properties={"plan": "gold"}),
        click(3, "signed_up", properties={"plan": "silver"}),
        click(9, "page_viewed", properties={"plan": "from elsewhere", "budget": 100}),
        click(10, "page_viewed", properties={"budget": 5}, currency="USD"),
    ]
    profile, _ = played(["kept.plan == 'x' or kept.budget > 1"], events)
    assert (value("kept.plan", profile, 10), value("kept.budget", profile, 10)) == ("gold", 100)


def granted(at: int, amount: int, expires: int, id_: str | None = None) -> Event:
    told = {"amount": amount, "expires_at": T0 + expires} | ({} if id_ is None else {"credit_id": id_})
    return click(at, "credit_granted", properties=told)


def test_credits_are_spent_by_id_or_the_earliest_first() -> None:
    spent = click(3, "credit_spent", properties={"amount": 150})
    by_id = click(4, "credit_spent", properties={"amount": 10, "credit_id": "a"})
    profile, _ = played(["credit > 0"], [granted(0, 100, 50, "a"), granted(1, 100, 40, "b"), spent, by_id])
    assert (value("credit", profile, 10), value("credit_expires_at", profile, 10)) == (40, T0 + 50)
    assert value("credit", profile, 50) == 0
    profile, _ = played(["credit > 0"], [granted(0, 100, 50), click(3, "credit_spent")])
    assert value("credit", profile, 10) == 0


def test_credits_are_bounded() -> None:
    profile, counts = played(["credit > 0"], [granted(0, 1, 1000 + n) for n in range(MOST_CREDITS + 2)])
    assert value("credit", profile, 10) == MOST_CREDITS
    assert counts["trimmed", "credits"] == 2


def test_aggregates_count_for_the_size_of_a_profile_and_are_trimmed() -> None:
    rules = [f"count('page_viewed', last='{days}d') > 0" for days in range(1, 30)]
    rules.append("known(category_due_at()) or viewed(event.category)")
    limit = 8 * 1024
    events = [
        click(n * HOUR, ("page_viewed", "product_viewed")[n % 2], "p", category=f"{n}" * 20) for n in range(500)
    ]  # fmt: skip
    profile, counts = played(rules, events, Policy(profile_bytes=limit, event_ids=0))
    assert counts["trimmed", "windows"] > 0
    assert counts["trimmed", "categories_viewed"] > 0
    assert packed_size(profile) <= limit
    assert unpack(pack(profile)).aggregates == profile.aggregates
