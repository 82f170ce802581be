"""The rule language by example: values of rules for a customer, and errors for invalid texts."""

from __future__ import annotations

import pytest

from streams.core.rules import RuleError, Type, Vocabulary, compile_rule
from tests.support.customer_history import DAY, HOUR, T0, CustomerHistory, Event, click, item, order, run
from tests.support.default_playbook import default_playbook

VOCABULARY = Vocabulary(tracks={"lifecycle": default_playbook().tracks[0].stages}, event_types=["survey_answered"])


def value(text: str, history: CustomerHistory, event: Event | None = None, at: int = 0, active: bool = False) -> object:
    """Return the value of a rule for the customer, this many ms after T0."""
    return compile_rule(text, VOCABULARY, None).value(history.alive, event, T0 + at, active)


@pytest.fixture(name="buyer", scope="module")
def a_buyer() -> CustomerHistory:
    """Return a customer with a cart and two orders, 20.00 EUR at 0 and 50.00 EUR a day later."""
    return run(
        [
            click(0, "product_viewed", "p-1", category="baby"),
            order(0, "o-1", total=2000),
            order(DAY, "o-2", total=5000, channel="web", items=(item("p-1", category="baby"), item("p-2"))),
            click(DAY + HOUR, "product_added", "p-3", quantity=2, category="toys"),
            click(DAY + HOUR, "subscribed"),
        ]
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("orders", 2),
        ("orders >= 2 and orders < 3", True),
        ("not orders == 2 or false", False),
        ("orders_in_stage", 0),
        ("revenue >= 70 and revenue < 70.01", True),
        ("revenue", 7000),
        ("average_order_value == 35", True),
        ("revenue / orders == 35.00", True),
        ("revenue / 3", 2333),
        ("revenue / average_order_value", 2.0),
        ("orders / 4", 0.5),
        ("1 + 2 * 3 - 4", 3),
        ("-orders + 0.5", -1.5),
        ("since(last_order_at)", DAY),
        ("since(last_order_at) >= 1d and not since(last_order_at) > 24h", True),
        ("until(last_order_at + 3d) == 2d", True),
        ("now - first_seen_at", 2 * DAY),
        ("1w2d == 9d and 1d12h == 36h and 1.5 * 1d == 36h", True),
        ("spend(last='1d')", 0),
        ("spend(last='1d1s') == 50 and spend(last=365d) == 70", True),
        ("orders(last='2d')", 1),
        ("stage", "repeat"),
        ("stage == 'repeat' and stage('lifecycle') != 'customer'", True),
        ("stage in ('customer', 'repeat')", True),
        ("stage not in ['customer', 'repeat']", False),
        ("orders in (1, 2) and revenue in (1, 70)", True),
        ("'it\\'s' == \"it's\"", True),
        ("cart_items == 2 and cart_value == 20", True),
        ("subscribed and not unsubscribed and not signed_up", True),
        ("signed_up == false", True),
        ("min(3, 1, 2) + max(0.5, 2)", 3.0),
        ("identified", True),
        ("sessions", 3),
        ("product_views + checkouts + reviews + referrals", 1),
        # absent values
        ("event.type", None),
        ("event.type == 'x' or event.type != 'x'", False),
        ("known(event.type) or known(event.price) or event_has('baby')", False),
        ("event.price > 0 or event.price <= 0 or event.price != 0", False),
        ("event.price + 1", None),
        ("default(event.price, 2)", 200),
        ("default(event.category, 'none')", "none"),
        ("max(event.price, 3)", 300),
        ("orders / 0", None),
        ("orders / 0 != 1", False),
        ("known(orders / 0)", False),
    ],
)
def test_rule_reads_the_profile_of_the_customer(buyer: CustomerHistory, text: str, expected: object) -> None:
    found = value(text, buyer, at=2 * DAY)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("event.type == 'order_completed'", True),
        ("event.total > 49.99", True),
        ("event_has('toys')", False),
        ("event_has('toys', 'baby')", True),
        ("event.channel", "web"),
        ("event.quantity", 1),
        ("activity", True),
    ],
)
def test_rule_reads_the_current_event(buyer: CustomerHistory, text: str, expected: object) -> None:
    event = order(DAY, total=5000, channel="web", items=(item("p-1", category="baby"), item("p-2")))
    assert value(text, buyer, event, active=True) == expected


def test_amounts_of_another_currency_are_absent() -> None:
    history = run([order(0, total=5000, currency="USD")])
    assert value("revenue", history) is None
    assert value("revenue >= 0 or revenue < 0", history) is False
    assert value("spend(last='1d')", history) == 0


def test_amounts_are_in_the_minor_units_of_the_currency() -> None:
    yen = Vocabulary(currency="JPY", minor_units=1)
    assert compile_rule("revenue >= 500", yen).value(run([order(0, total=500, currency="JPY")]).alive, None, T0) is True
    with pytest.raises(RuleError, match=r"500\.5 JPY has too many decimals"):
        compile_rule("revenue >= 500.5", yen)


def test_events_are_counted_where_the_playbook_counts_them() -> None:
    rule = compile_rule("count('survey_answered') >= 2", VOCABULARY)
    assert rule.needs.counted_types == {"survey_answered"}
    assert rule.reads == {"count:survey_answered"}


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("", "", "a name, a number, a duration, a text or ( is expected here, not the end of the rule"),
        ("orders >=", "", "not the end of the rule"),
        ("ordres >= 1", "ordres", "ordres is unknown; did you mean orders?"),
        ("orders => 1", "=", "to compare, write =="),
        ("orders = 1", "=", "to compare, write =="),
        ("orders", "orders", "this is a number, but a yes-or-no value is expected here"),
        ("orders and signed_up", "orders", "this is a number, but a yes-or-no value is expected here"),
        ("signed_up > 1", "signed_up > 1", "a yes-or-no value cannot be compared with a number"),
        ("revenue > orders", "orders", "write a number (500, 9.99) or another amount"),
        ("last_order_at > 30d", "last_order_at > 30d", "a time cannot be compared with a duration"),
        ("now + now > now", "now + now", "only a duration can be added to a time"),
        ("30d > 1 * now", "1 * now", "a number cannot be multiplied by a time"),
        ("stage > 'customer'", "stage > 'customer'", "can only be compared with == or !="),
        ("stage == 'gold'", "'gold'", "there is no stage 'gold'"),
        ("stage in ('prospect', 'custmer')", "'custmer'", "did you mean customer?"),
        ("stage('teir') == 'gold'", "'teir'", "there is no track 'teir'; known: lifecycle"),
        ("1 < orders < 3", "<", "write a < b and b < c"),
        ("(orders > 1", "(orders > 1", ") is expected here, not the end of the rule"),
        ("'open", "'open", "this text has no closing '"),
        ("orders > 3x", "3x", "neither a number"),
        ("30m1h > 1d", "30m1h", "the largest first"),
        ("1h1h > 1d", "1h1h", "the largest first"),
        ("orders > 1234567890123456", "1234567890123456", "at most 15 digits"),
        ("since(last_order_at) > 99999999d", "99999999d", "at most a hundred years"),
        ("orders > 1 ; signed_up", ";", "the character ';' has no meaning in a rule"),
        ("since() > 1d", "since()", "since(TIME)"),
        ("since > 1d", "since", "since is a function: write since(TIME)"),
        ("signed_up() or true", "signed_up()", "signed_up is not a function"),
        ("sincee(now) > 1d", "sincee(now)", "did you mean since?"),
        ("count('product_veiwed') > 1", "'product_veiwed'", "did you mean product_viewed?"),
        ("count(stage) > 1", "stage", "write an event type here"),
        ("orders(last='x') > 1", "'x'", "a duration between a second and a hundred years"),
        ("orders() > 1", "orders()", "this call needs the length of a window"),
        ("orders(first='1d') > 1", "'1d'", "orders takes no argument first=; it takes last"),
        ("orders(last=1d, last=2d) > 1", "last", "given twice"),
        ("2 * since(last_order_at) > 1d", "since(last_order_at)", "can only be added, subtracted and compared"),
        ("1 in 1", "1", "several values"),
        ("(1, 2) == 1", "(1, 2)", "allowed only after `in`"),
        ("known(signed_up)", "known(signed_up)", "known() takes no yes-or-no value"),
        ("x" * 3000, "x" * 1000, "at most 2000 characters"),
        ("(" * 100 + "1" + ")" * 100, "(", "at most 40 levels deep"),
        ("not " * 100 + "true", None, "at most 40 levels deep"),
        (" + ".join(["1"] * 100) + " > 0", None, "at most 40 levels deep"),
        (" or ".join(["1 < 2"] * 150), None, "at most 400 parts"),
        # this would be an escape sequence in Python
        ("__import__('os')", None, "no function __import__"),
        ("__import__('os').system('id')", ".", "has no meaning"),
        ("orders.__class__", "orders.__class__", "orders.__class__ is unknown"),
        ("event.__class__.__mro__ == 1", None, "is unknown"),
        ("().__class__", ".", "has no meaning"),
        ("''.join", None, "has no meaning"),
        ("[x for x in (1,)]", None, "] is expected here, not for"),
        ("lambda: 0", ":", "has no meaning"),
        ("orders if signed_up else 1", "if", "an operator"),
        ("f'{orders}'", None, "an operator"),
        ("exec('1')", None, "no function exec"),
        ("(orders := 3) > 1", ":", "has no meaning"),
        ("orders\\\n> 1", "\\", "has no meaning"),
    ],
)
def test_invalid_rule_is_an_error_with_place_and_reason(text: str, place: str | None, message: str) -> None:
    with pytest.raises(RuleError) as caught:
        compile_rule(text, VOCABULARY)
    error = caught.value
    assert message in error.message
    assert 0 <= error.start <= error.end <= len(text)
    if place is not None:
        assert text[error.start : error.end] == place


def test_rule_must_have_the_expected_type() -> None:
    rule = compile_rule("max(last_activity_at, entered_at)", VOCABULARY, Type.TIME)
    assert rule.type is Type.TIME
    assert rule.reads == {"activity", "stage:lifecycle"}
    with pytest.raises(RuleError, match="this is a time, but a duration is expected here"):
        compile_rule("now", VOCABULARY, Type.DURATION)
