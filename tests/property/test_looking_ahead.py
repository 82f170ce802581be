"""A rule that time changes is evaluated only after events that can move its next change: outputs are those of always
evaluating it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from streams.core.lifecycle.aggregates import AggregatePlan
from streams.core.lifecycle.lifecycle import Lifecycle
from streams.core.lifecycle.playbook import Playbook
from streams.core.lifecycle.tracks import Track, Transition
from streams.core.model.event import Event
from streams.core.rules import Vocabulary, compile_rule
from streams.core.rules.requirements import KeptProperty, combine_requirements
from streams.core.rules.types import Type
from tests.property.rule_maker import RuleMaker
from tests.support.customer_history import T0

TRACKS = ("lifecycle", "other")
STAGES = ("visitor", "customer", "at_risk", "lapsed")
VOCABULARY = {
    track: Vocabulary(
        tracks=dict.fromkeys(TRACKS, STAGES),
        track=track,
        event_types=["survey_answered", "credit_granted", "credit_spent"],
        properties={"score": Type.NUMBER, "good": Type.BOOL, "plan": Type.TEXT, "expires_at": Type.TIME},
        kept=[KeptProperty("score", Type.NUMBER, "score")],
        minor_units=1,
        of_trigger=True,
    )
    for track in TRACKS
}
ALWAYS_EVALUATED = "({}) and known(last_seen_at)"
"""The same condition, but every event touches something that it reads."""
END = 400_000
"""ms after T0. All windows have passed by then."""


def playbook(conditions: list[str], *, always: bool) -> Playbook:
    """Return a playbook with two tracks that go up when a condition holds and down when it does not."""
    tracks, rules = [], []
    for number, name in enumerate(TRACKS):
        rows: list[tuple[tuple[str, ...], str, str]] = []
        for step in range(3):
            condition = conditions[3 * number + step]
            rows.append(((STAGES[step],), STAGES[step + 1], condition))
            rows.append(((STAGES[step + 1],), STAGES[step], f"not ({condition})"))
        template = ALWAYS_EVALUATED if always else "{}"
        made = [
            (sources, target, compile_rule(template.format(text), VOCABULARY[name])) for sources, target, text in rows
        ]
        rules += [rule for _, _, rule in made]
        tracks.append(Track(name, "visitor", tuple([Transition(*row) for row in made])))
    needs = combine_requirements([rule.needs for rule in rules])
    plan = AggregatePlan(needs, "EUR")
    return Playbook(tracks=tuple(tracks), counted_types=needs.counted_types, plan=None if plan.empty else plan)


def condition(maker: RuleMaker) -> str:
    """Return a condition that does not read the stage that it leads to. Otherwise two stages could lead to each
    other."""
    while "stage" in (text := maker.condition(2)) or "cycle" in text or "entered_at" in text:
        pass
    return text


def outputs(playbook: Playbook, history: list[Event]) -> list[Any]:
    """Return the outputs for the events of a customer, and for the time after them."""
    lifecycle = Lifecycle(playbook)
    found: list[Any] = []
    profile = lifecycle.new("c-1", True)

    def fire(until: int) -> None:
        while (due := profile.next_deadline) is not None and due <= until:
            lifecycle.fire(profile, found, Counter())

    for event in history:
        fire(event.at)
        lifecycle.apply(profile, event, found, Counter())
    fire(T0 + END)
    return found


@given(st.integers(0, 2**64))
def test_rules_evaluated_only_when_touched_give_the_same_outputs(seed: int) -> None:
    maker = RuleMaker(seed)
    conditions, history = [condition(maker) for _ in range(6)], maker.history()
    assert outputs(playbook(conditions, always=False), history) == outputs(playbook(conditions, always=True), history)
