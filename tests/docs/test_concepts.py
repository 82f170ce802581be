"""docs/concepts.md and docs/contract.md agree with the core: table, diagram, story, windows, ids."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from streams.core.engine.config import EngineConfig
from streams.core.engine.partition_engine import PartitionEngine
from streams.core.lifecycle.lifecycle import PASSIVE_ORDERS, Lifecycle
from streams.core.lifecycle.reach import MOST_PRODUCTS, MOST_PURCHASES
from streams.core.model.event import Event, Source
from streams.core.model.ids import NAMESPACE
from streams.core.model.outputs import Abandonment, Output, StageChange
from streams.core.model.policy import DAY, HOUR, MINUTE, Policy
from streams.core.model.sources import Fetch, SourceSpec
from streams.core.profile.profile import Profile
from streams.core.rules.eval_context import EvalContext
from streams.playbooks.transition_rows import rows_of
from tests.support.boundary_profiles import boundary_profiles
from tests.support.default_playbook import LIFECYCLE, default_playbook
from tests.support.documentation import ROOT, fences, section, table

CONCEPTS = ROOT / "docs" / "concepts.md"
CONTRACT = ROOT / "docs" / "contract.md"
POLICY = Policy()
ROWS = table(section(CONCEPTS, "The lifecycle"), "from", "to", "when")
BY_EVENT = ROWS[: len(LIFECYCLE.transitions)]
BY_DEADLINE = ROWS[len(LIFECYCLE.transitions) :]


# ------------------------------------------------------------------------------------------------------- the stages


def test_concepts_table_has_the_transitions_in_their_order() -> None:
    rows = [(sources.split(", "), target) for sources, target, _ in ROWS]
    transitions = [(list(row.sources), row.target) for row in rows_of(LIFECYCLE)]
    assert rows == transitions


@pytest.mark.parametrize("number", range(len(BY_EVENT)), ids=[f"{row[0]} to {row[1]}" for row in BY_EVENT])
def test_documented_condition_agrees_with_the_transition(number: int) -> None:
    row = LIFECYCLE.transitions[number]
    [condition] = re.findall(r"`(.+)`", BY_EVENT[number][2])
    outcomes = set()
    for profile, active in boundary_profiles():
        names = {field: getattr(profile, field) for field in Profile.__annotations__}
        names |= {"cart_items": sum(line.quantity for line in profile.cart.now.lines.values()), "activity": active}
        said = bool(eval(condition, {"__builtins__": {}}, names))
        assert row.matches(EvalContext(profile, None, 0, active)) is said, (condition, profile)
        outcomes.add(said)
    assert outcomes == {True, False}
    assert row.starts_cycle is ("a new cycle" in BY_EVENT[number][2])


@pytest.mark.parametrize("number", range(len(BY_DEADLINE)), ids=[f"{row[0]} to {row[1]}" for row in BY_DEADLINE])
def test_documented_deadline_agrees_with_the_timeout_transition(number: int) -> None:
    [(days, since)] = re.findall(r"deadline: (\d+) d after the (.+)", BY_DEADLINE[number][2])
    for entered_at, last_activity_at in ((5 * DAY, 7 * DAY), (7 * DAY, 5 * DAY)):
        profile = Profile("c", True)
        profile.stage = LIFECYCLE.timeout_transitions[number].sources[0]
        profile.entered_at, profile.last_activity_at, profile.last_order_at = entered_at, last_activity_at, 3 * DAY
        start = {
            "last order": 3 * DAY,
            "last activity or the entry into the stage, whichever is later": max(entered_at, last_activity_at),
        }[since]
        assert LIFECYCLE.timeout_transitions[number].due(EvalContext(profile, None, 0)) == start + int(days) * DAY


def test_concepts_diagram_has_the_transitions_of_the_playbook() -> None:
    [diagram] = [fence.text for fence in fences(CONCEPTS) if fence.language == "mermaid"]
    arrows = re.findall(r"^ +(\S+) --> (\w+)", diagram, re.MULTILINE)
    expected = {(source, row.target) for row in rows_of(LIFECYCLE) for source in row.sources} | {
        ("[*]", LIFECYCLE.initial)
    }
    assert len(arrows) == len(set(arrows))
    assert set(arrows) == expected


# -------------------------------------------------------------------------------------------------------- the story


def test_documented_story_is_what_the_engine_does() -> None:
    story = table(section(CONCEPTS, "Abandonment"), "when", "what happens", "what is sent")
    expected = [(when, sent) for when, _, sent in story if sent]
    assert len(expected) >= 6
    happened: list[tuple[str, str]] = []
    engine = PartitionEngine(
        Lifecycle(default_playbook()), EngineConfig(sources=dict.fromkeys(Source, SourceSpec(delay=0)))
    )
    read = dict.fromkeys(Source, 0)
    moments = [_moment(when) for when, _, _ in story]
    for moment, (_, what, _) in zip(moments, story, strict=True):
        if what:
            [(type_, product)] = re.findall(r"`(\w+)`(?: ([\w-]+))?", what)
            source = Source.ORDERS if type_ == "order_completed" else Source.CLICKSTREAM
            activity = Event(
                source=source, offset=read[source], timestamp=moment, size=100, at=moment, customer="c-1",
                identified=True, event_id=f"{moment}", type=type_, product_id=product or None, order_id="1",
                price=7900, currency="EUR",
            )  # fmt: skip
            read[source] += 1
            engine.ingest(source, [activity], read[source], moment)
        time = moment + POLICY.lateness
        effects = engine.advance(time, {source: Fetch(time, read[source]) for source in Source})
        snapshot = engine.snapshot()
        outputs = [*effects.outputs, *(snapshot.outputs if snapshot else [])]
        if outputs:
            happened.append((_when(outputs[0].occurred_at), ", ".join(sorted(map(_sent, outputs)))))
    assert happened == expected


def _moment(when: str) -> int:
    return int(datetime.strptime(f"2026 {when}", "%Y %d %b %H:%M").replace(tzinfo=UTC).timestamp()) * 1000


def _when(at: int) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at)
    return f"{moment.day} {moment:%b %H:%M}"


def _sent(output: Output) -> str:
    if isinstance(output, StageChange):
        return f"stage `{output.to_stage}`"
    assert isinstance(output, Abandonment)
    step = f", step {output.step}" if output.type == "abandoned" else ""
    return f"`{output.type}` {output.kind}{step}"


# ------------------------------------------------------------------------------------------------------ the numbers


def test_documented_windows_are_those_of_the_policy() -> None:
    rows = table(section(CONCEPTS, "Abandonment"), "kind", "when", "step 1 after", "further steps")
    windows = {kind.strip("`"): (after, further) for kind, _, after, further in rows}
    assert POLICY.cart_ladder == POLICY.checkout_ladder
    ladder = ", ".join(f"{step // HOUR} h" for step in POLICY.cart_ladder)
    assert windows == {
        "browse": (f"{POLICY.browse_window // MINUTE} min", "none"),
        "cart": (f"{POLICY.cart_window // MINUTE} min", ladder),
        "checkout": (f"{POLICY.checkout_window // MINUTE} min", ladder),
    }


def test_documented_bounds_are_those_of_the_policy() -> None:
    bounds = {what: bound.split(";")[0] for what, bound in table(section(CONCEPTS, "Bounds"), "what", "bound")}
    assert bounds["lines of a cart"] == str(POLICY.cart_lines)
    assert bounds["products viewed in an episode"] == str(POLICY.viewed_products)
    assert bounds["orders that can still be corrected"] == str(POLICY.orders)
    assert bounds["event ids remembered"] == str(POLICY.event_ids)
    assert bounds["a packed profile"] == f"{POLICY.profile_bytes // 1024} KiB"


def test_documented_reach_is_that_of_the_policy() -> None:
    rules = table(section(CONCEPTS, "Which clicks an order has dealt with"), "rule", "a click that is", "is reached if")
    said = {number: re.findall(r"\d+ (?:h|min)", click) for number, click, _ in rules}
    named, items = f"{POLICY.order_skew_named // HOUR} h", f"{POLICY.order_skew_items // MINUTE} min"
    assert said == {"1": [], "2": [named], "3": [items], "4": [named, items], "5": []}
    bounds = dict(table(section(CONCEPTS, "Bounds"), "what", "bound"))
    kept = bounds["orders kept for the clicks that they reach"]
    assert kept == f"{MOST_PURCHASES}, with {MOST_PRODUCTS} products each"
    assert bounds["orders whose corrections came, but not their completion"] == str(POLICY.orders)


def test_documented_passive_events_are_those_of_the_code() -> None:
    text = re.search(r"These events are passive: (.*?)\n\n", section(CONCEPTS, "Events and activity"), re.DOTALL)
    assert text
    named = set(re.findall(r"`(\w+)`", text[1].partition(" A click")[0]))
    assert (
        named - {"orders", "channel", "message_clicked"}
        == PASSIVE_ORDERS | POLICY.passive_types | POLICY.passive_channels
    )


def test_documented_id_vectors_are_right() -> None:
    text = section(CONTRACT, "Ids")
    assert f"`{NAMESPACE}`" in text
    rows = [[cell.strip("`") for cell in row] for row in table(text, "name", "id")]
    assert len(rows) == 5  # that the core makes these names is held by tests/core/test_ids.py
    for vector_name, id_ in rows:
        assert str(uuid.uuid5(NAMESPACE, vector_name)) == id_
