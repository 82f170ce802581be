"""Triggers: causes, steps, cool-downs, caps, holdouts, times that they wait for, and ends."""

from __future__ import annotations

import dataclasses
import uuid
from collections import Counter

import msgspec
import pytest

from streams.core.engine.config import EngineConfig
from streams.core.engine.partition_engine import PartitionEngine
from streams.core.lifecycle.aggregates import AggregatePlan
from streams.core.lifecycle.lifecycle import Lifecycle
from streams.core.lifecycle.playbook import Playbook
from streams.core.lifecycle.tracks import Track, Transition
from streams.core.lifecycle.trigger_runner import MOST_RUNS
from streams.core.lifecycle.triggers import (
    DatumDefinition,
    OnAbandonment,
    OnStage,
    OnTime,
    Trigger,
    TriggerStep,
    next_yearly,
)
from streams.core.model import ids
from streams.core.model.counters import EngineCounters
from streams.core.model.event import Event, Source
from streams.core.model.outputs import EmissionPolicy, StageChange, Triggered
from streams.core.model.policy import Policy
from streams.core.model.sources import Fetch
from streams.core.profile.codec import pack, unpack
from streams.core.rules import CompiledRule, Type, Vocabulary, compile_rule
from streams.core.rules.requirements import KeptProperty, combine_requirements
from tests.support.customer_history import DAY, HOUR, MINUTE, SECOND, T0, CustomerHistory, click, item, order
from tests.support.default_playbook import default_playbook

YEAR = 365 * DAY
VOCABULARY = Vocabulary(
    tracks={"lifecycle": default_playbook().tracks[0].stages},
    event_types=["survey_answered", "credit_granted", "credit_spent"],
    properties={"score": Type.NUMBER, "birthday": Type.TIME},
    kept=[KeptProperty("birthday", Type.TIME, "birthday")],
    of_trigger=True,
)


def rule(text: str, expected: Type | None = Type.BOOL) -> CompiledRule:
    return compile_rule(text, VOCABULARY, expected)


def playbook(*triggers: Trigger, policy: Policy = Policy()) -> Playbook:
    needs = combine_requirements(one.needs for trigger in triggers for one in trigger.rules)
    return default_playbook(
        policy=policy, triggers=triggers, plan=AggregatePlan(needs, "EUR"), counted_types=needs.counted_types
    )  # fmt: skip


def triggered(triggers: Trigger | tuple[Trigger, ...], *events: Event, until: int | None = None) -> list[Triggered]:
    """Return the trigger outputs of a customer. The profile is packed and unpacked between all events."""
    history = CustomerHistory(Policy())
    history.lifecycle = Lifecycle(playbook(*(triggers if isinstance(triggers, tuple) else (triggers,))))
    for event in events:
        history.play(event)
        history.profile = unpack(pack(history.alive))
    history.play(until=until)
    return [output for output in history.outputs if isinstance(output, Triggered)]


def times(*outputs: Triggered) -> list[tuple[str, int, int]]:
    """Return trigger, step and time (ms after T0) of each output."""
    return [(output.trigger, output.step, output.occurred_at - T0) for output in outputs]


# -- causes


def test_an_event_begins_a_trigger_at_once_if_its_rule_holds() -> None:
    trigger = Trigger("added", events=["product_added"], when=rule("cart_value >= 20"))
    first, second = click(0, "product_added", "p-1"), click(5, "product_added", "p-2")
    (output,) = triggered(trigger, first, second)
    assert times(output) == [("added", 1, 5)]
    assert (output.cause.kind, output.cause.rule, output.cause.event_id) == ("activity", "added", second.event_id)
    assert (output.event_id, output.event_type, output.output_id) == (second.event_id, "product_added", None)
    assert (output.number, output.begun_at, output.steps) == (1, T0 + 5, 1)


def test_duplicates_and_other_types_begin_nothing() -> None:
    event = click(0, "signed_up")
    trigger = Trigger("welcome", events=["signed_up"])
    assert len(triggered(trigger, event, dataclasses.replace(event), click(1))) == 1


def test_a_stage_that_is_entered_or_left_begins_a_trigger() -> None:
    triggers = (
        Trigger("hello", on=OnStage("lifecycle", enters=["visitor"])),
        Trigger("left prospect", on=OnStage("lifecycle", leaves=["prospect"])),
        Trigger("at risk", on=OnStage("lifecycle", enters=["at_risk"], leaves=["customer"])),
        Trigger("elsewhere", on=OnStage("tier", enters=["visitor"])),
    )
    outputs = triggered(triggers, click(0, "signed_up"), order(HOUR), until=91 * DAY)
    due = HOUR + 90 * DAY
    assert times(*outputs) == [("hello", 1, 0), ("left prospect", 1, HOUR), ("at risk", 1, due)]
    assert (outputs[2].cause.kind, outputs[2].cause.deadline) == ("inactivity", T0 + due)
    assert outputs[2].output_id is not None


def test_forgetting_leaves_no_stage_behind_and_ends_all_runs() -> None:
    triggers = (
        Trigger("left", on=OnStage("lifecycle", leaves=["dormant", "visitor"])),
        Trigger("much later", events=["page_viewed"], steps=(TriggerStep(500 * DAY),)),
    )
    assert times(*triggered(triggers, click(0), until=600 * DAY)) == [("left", 1, 30 * DAY)]


def test_an_abandonment_begins_a_follow_up_which_ends_with_it() -> None:
    trigger = Trigger(
        "cart", on=OnAbandonment(kinds=["cart"]), steps=(TriggerStep(), TriggerStep(2 * HOUR), TriggerStep(30 * HOUR))
    )  # fmt: skip
    added = click(0, "product_added", "p-1")
    left = triggered(trigger, added, until=5 * DAY)
    assert times(*left) == [("cart", 1, HOUR), ("cart", 2, 3 * HOUR), ("cart", 3, 31 * HOUR)]
    bought = triggered(trigger, added, order(2 * HOUR, items=(item("p-1"),)), until=5 * DAY)
    assert times(*bought) == [("cart", 1, HOUR)]
    late = triggered(trigger, added, click(3 * HOUR + 1), order(30 * MINUTE, items=(item("p-1"),)), until=5 * DAY)
    assert times(*late) == [("cart", 1, HOUR), ("cart", 2, 3 * HOUR)]  # then it is retracted
    assert len({output.output_id for output in left}) == 1


def test_recovery_or_step_of_an_abandonment_begins_a_trigger() -> None:
    trigger = Trigger("thanks", on=OnAbandonment(types=["recovered"]))
    assert times(*triggered(trigger, click(0, "product_added", "p-1"), order(DAY), until=2 * DAY)) == [
        ("thanks", 1, DAY)
    ]
    second = Trigger("second", on=OnAbandonment(step=2))
    assert times(*triggered(second, click(0, "product_added", "p-1"), until=2 * DAY)) == [("second", 1, DAY)]


# -- steps


def test_a_ladder_goes_on_until_its_end_is_reached() -> None:
    trigger = Trigger(
        "offer",
        events=["signed_up"],
        unless=rule("orders >= 1"),
        steps=(TriggerStep(DAY), TriggerStep(3 * DAY, (DatumDefinition("discount", 10),)), TriggerStep(5 * DAY)),
    )
    signed_up = click(0, "signed_up")
    outputs = triggered(trigger, signed_up, until=9 * DAY)
    assert times(*outputs) == [("offer", 1, DAY), ("offer", 2, 3 * DAY), ("offer", 3, 5 * DAY)]
    assert [(o.cause.kind, o.cause.deadline) for o in outputs[:1]] == [("inactivity", T0 + DAY)]
    assert [[(d.name, d.value) for d in o.data] for o in outputs] == [[], [("discount", 10)], []]
    assert {o.event_id for o in outputs} == {signed_up.event_id}
    assert len({o.id for o in outputs}) == 3
    assert times(*triggered(trigger, signed_up, order(2 * DAY), until=9 * DAY)) == [("offer", 1, DAY)]
    assert times(*triggered(trigger, signed_up, order(HOUR), until=9 * DAY)) == []


def test_rules_know_when_the_trigger_began() -> None:
    trigger = Trigger(
        "next order", events=["order_completed"], unless=rule("last_order_at > begun_at"), steps=(TriggerStep(DAY),)
    )
    outputs = triggered(trigger, order(0, "o-1"), order(HOUR, "o-2"), until=5 * DAY)
    assert times(*outputs) == [("next order", 1, DAY + HOUR)]
    assert outputs[0].begun_at == T0 + HOUR


def test_a_step_that_is_due_at_the_time_of_an_event_goes_first() -> None:
    trigger = Trigger("t", events=["signed_up"], unless=rule("orders >= 1"), steps=(TriggerStep(DAY),))
    assert times(*triggered(trigger, click(0, "signed_up"), order(DAY))) == [("t", 1, DAY)]


def test_runs_are_bounded_and_the_oldest_is_dropped() -> None:
    trigger = Trigger("t", events=["page_viewed"], steps=(TriggerStep(DAY),))
    outputs = triggered(trigger, *[click(n) for n in range(MOST_RUNS + 3)], until=2 * DAY)
    assert [output.occurred_at - T0 - DAY for output in outputs] == list(range(3, MOST_RUNS + 3))


def test_data_of_a_trigger_is_computed_when_it_is_sent() -> None:
    data = (
        DatumDefinition("template", "hello"),
        DatumDefinition("spent", rule("revenue", None)),
        DatumDefinition("since", rule("since(begun_at)", None)),
        DatumDefinition("at", rule("last_order_at", None)),
        DatumDefinition("vip", rule("orders > 1", None)),
        DatumDefinition("is", True),
        DatumDefinition("what", rule("event.category", None)),
        DatumDefinition("average", rule("revenue / average_order_value", None)),
    )
    trigger = Trigger("t", events=["order_completed"], steps=(TriggerStep(HOUR),), data=data)
    (output,) = triggered(trigger, order(0), until=DAY)
    assert [(datum.name, datum.kind, datum.value) for datum in output.data] == [
        ("template", "text", "hello"),
        ("spent", "money", 5000),
        ("since", "duration", HOUR),
        ("at", "time", T0),
        ("vip", "bool", False),
        ("is", "bool", True),
        ("what", "text", None),
        ("average", "number", 1.0),
    ]


# -- how often


def test_a_cool_down_counts_from_when_it_last_began() -> None:
    trigger = Trigger("t", events=["page_viewed"], cool_down=DAY)
    outputs = triggered(trigger, *[click(at) for at in (0, HOUR, DAY - 1, DAY, 2 * DAY - 1)])
    assert times(*outputs) == [("t", 1, 0), ("t", 1, DAY)]
    assert [output.number for output in outputs] == [1, 2]


def test_a_cap_holds_for_ever() -> None:
    trigger = Trigger("t", events=["page_viewed"], cap=2)
    assert times(*triggered(trigger, *[click(n * 100 * DAY) for n in range(4)])) == [("t", 1, 0), ("t", 1, 100 * DAY)]


def test_trigger_whose_rule_does_not_hold_does_not_count_towards_the_cap() -> None:
    trigger = Trigger("t", events=["page_viewed"], cap=1, when=rule("subscribed"), unless=rule("orders >= 1"))
    events = [click(0), click(1, "subscribed"), click(2)]
    assert times(*triggered(trigger, *events)) == [("t", 1, 2)]
    assert times(*triggered(trigger, order(-1), *events)) == []


def test_held_out_customers_have_outputs_and_stay_in_their_bucket() -> None:
    buckets = Counter(ids.bucket(ids.NAMESPACE, True, f"c-{n}", "t") for n in range(20_000))
    assert sorted(buckets) == list(range(100))
    assert all(130 < number < 280 for number in buckets.values())
    mine = ids.bucket(ids.NAMESPACE, True, "c-1", "t")
    for holdout in (0, mine, mine + 1, 100):
        outputs = triggered(Trigger("t", events=["page_viewed"], holdout=holdout), click(0), click(1))
        assert [(output.bucket, output.held_out) for output in outputs] == [(mine, mine < holdout)] * 2


def test_bucket_depends_on_trigger_customer_and_name_space() -> None:
    other = uuid.UUID(int=1)
    drawn = {
        (ids.bucket(ids.NAMESPACE, True, f"c-{n}", "a"), ids.bucket(ids.NAMESPACE, True, f"c-{n}", "b"),
         ids.bucket(ids.NAMESPACE, False, f"c-{n}", "a"), ids.bucket(other, True, f"c-{n}", "a"))
        for n in range(50)
    }  # fmt: skip
    assert len(drawn) == 50
    assert all(len({row[n] for row in drawn}) > 20 for n in range(4))


# -- times


def test_a_trigger_waits_for_a_time_that_moves() -> None:
    trigger = Trigger("quiet", on=OnTime(rule("last_activity_at + 7d", Type.TIME)))
    assert times(*triggered(trigger, click(0), click(DAY), until=20 * DAY)) == [("quiet", 1, 8 * DAY)]


def test_trigger_comes_before_a_credit_expires_unless_it_is_spent() -> None:
    def granted(at: int, expires: int, id_: str) -> Event:
        properties = {"amount": 1000, "expires_at": T0 + expires, "credit_id": id_}
        return click(at, "credit_granted", properties=properties)

    triggers = (
        Trigger("week", on=OnTime(rule("credit_expires_at", Type.TIME), before=7 * DAY)),
        Trigger("day", on=OnTime(rule("credit_expires_at", Type.TIME), before=DAY)),
    )
    two = [granted(0, 30 * DAY, "a"), granted(0, 20 * DAY, "b")]
    assert times(*triggered(triggers, *two, until=40 * DAY)) == [
        ("week", 1, 13 * DAY), ("day", 1, 19 * DAY), ("week", 1, 23 * DAY), ("day", 1, 29 * DAY),
    ]  # fmt: skip
    spent = click(15 * DAY, "credit_spent", properties={"amount": 1000, "credit_id": "b"})
    assert times(*triggered(triggers, *two, spent, until=40 * DAY)) == [
        ("week", 1, 13 * DAY), ("week", 1, 23 * DAY), ("day", 1, 29 * DAY),
    ]  # fmt: skip
    assert triggered(triggers, granted(0, HOUR, "short"), until=40 * DAY) == []


def test_repeatedly_bought_category_is_due_again() -> None:
    trigger = Trigger(
        "replenish",
        on=OnTime(rule("category_due_at()", Type.TIME)),
        data=(DatumDefinition("what", rule("category_due()", None)),),
    )

    def bought(at: int, category: str) -> Event:
        return order(at, f"o-{at}", items=(item("p", category=category),))

    coffee = [bought(n * 10 * DAY, "coffee") for n in range(3)]
    outputs = triggered(trigger, *coffee, bought(21 * DAY, "books"), until=60 * DAY)
    assert times(*outputs) == [("replenish", 1, 30 * DAY)]
    assert outputs[0].data[0].value == "coffee"
    again = triggered(trigger, *coffee, bought(29 * DAY, "coffee"), until=60 * DAY)
    assert times(*again) == [("replenish", 1, 29 * DAY + 29 * DAY // 3)]
    assert triggered(trigger, *coffee[:2], until=60 * DAY) == []


def test_yearly_trigger_is_sent_on_its_day_each_year() -> None:
    anniversary = Trigger("anniversary", on=OnTime(rule("first_order_at", Type.TIME), yearly=True))
    outputs = triggered(anniversary, order(0), until=3 * YEAR)
    assert times(*outputs) == [
        ("anniversary", 1, n * YEAR) for n in (1, 2)
    ]  # the third is a day later: 2028 is a leap year
    birthday = Trigger("birthday", on=OnTime(rule("kept.birthday", Type.TIME), yearly=True, before=DAY))
    born = click(0, "signed_up", properties={"birthday": T0 - 30 * YEAR})
    moved = click(DAY, "identified", properties={"birthday": T0 - 20 * YEAR + 4 * DAY})
    assert len(triggered(birthday, order(0), born, until=3 * YEAR)) == 3
    outputs = triggered(birthday, order(0), born, moved, until=YEAR)
    assert len(outputs) == 1
    assert outputs[0].occurred_at < T0 + 30 * DAY


def test_yearly_day_of_a_leap_day_is_found() -> None:
    leap = 1_709_164_800_000  # 29 February 2024
    assert next_yearly(leap, leap) == leap + 365 * DAY  # 28 February 2025
    assert next_yearly(leap, leap + 3 * YEAR) == leap + (4 * 365 + 1) * DAY
    assert next_yearly(-30 * YEAR, 0) > 0
    assert next_yearly(leap, leap - 1) == leap


def test_yearly_trigger_beyond_the_calendar_raises_no_error() -> None:
    trigger = Trigger(
        "t", on=OnTime(rule(" + ".join(["last_seen_at", *["36500d"] * 30]) + " + 36500d" * 5, Type.TIME), yearly=True)
    )
    assert len(triggered(trigger, click(0), until=2 * YEAR)) <= 2
    far = Trigger("t", on=OnTime(rule("last_seen_at + 90 * 36500d", Type.TIME), yearly=True))
    assert triggered(far, click(0), until=DAY) == []


# -- a changed playbook


def test_added_trigger_begins_and_removed_trigger_ends() -> None:
    old = Trigger("old", events=["page_viewed"], steps=(TriggerStep(), TriggerStep(DAY), TriggerStep(2 * DAY)))
    new = Trigger("new", on=OnTime(rule("last_activity_at + 3d", Type.TIME)))
    history = CustomerHistory(Policy())
    history.lifecycle = Lifecycle(playbook(old))
    history.play(click(0))
    history.lifecycle = Lifecycle(playbook(new))
    history.play(click(HOUR, "message_opened"), until=9 * DAY)
    made = [output for output in history.outputs if isinstance(output, Triggered)]
    assert times(*made) == [("old", 1, 0), ("new", 1, 3 * DAY)]
    shorter = Trigger("old", events=["page_viewed"])
    history = CustomerHistory(Policy())
    history.lifecycle = Lifecycle(playbook(old))
    history.play(click(0))
    history.lifecycle = Lifecycle(playbook(shorter))
    history.play(until=9 * DAY)
    assert len([output for output in history.outputs if isinstance(output, Triggered)]) == 1


def test_a_stage_that_changes_because_the_playbook_did_begins_nothing() -> None:
    trigger = Trigger("hello", on=OnStage("lifecycle", enters=["guest"]))
    track = Track("lifecycle", "guest", (Transition(("guest",), "customer", rule("orders >= 1")),))
    new = msgspec.structs.replace(playbook(trigger), tracks=(track,), version=2, digest="f" * 16)
    history = CustomerHistory(Policy()).play(click(0))
    history.lifecycle = Lifecycle(new)
    history.play(click(HOUR))
    assert history.stages[-1] == ("guest", HOUR)
    assert history.changes[-1].cause.kind == "playbook"
    assert not [output for output in history.outputs if isinstance(output, Triggered)]


def test_a_playbook_without_triggers_keeps_nothing() -> None:
    history = CustomerHistory(Policy()).play(click(0))
    assert history.alive.triggers is None


# -- what is emitted


def engine(trigger: Trigger, **emission: int | None) -> PartitionEngine:
    return PartitionEngine(Lifecycle(playbook(trigger)), EngineConfig(emission=EmissionPolicy(**emission)))


def emitted(target: PartitionEngine, events: list[Event], now: int) -> tuple[list[object], EngineCounters]:
    """Return the outputs that were not withheld, and the counts, with everything read at `now` (ms after T0)."""
    by_source = {
        source: [dataclasses.replace(e, offset=n) for n, e in enumerate(e for e in events if e.source is source)]
        for source in Source
    }
    outputs: list[object] = []
    counts: EngineCounters = Counter()
    effects = [target.ingest(source, records, len(records), T0 + now) for source, records in by_source.items()]
    fetches = {source: Fetch(T0 + now, len(records)) for source, records in by_source.items()}
    effects.append(target.advance(T0 + now, fetches))
    for effect in effects:
        outputs += effect.outputs
        counts += effect.counts
    snapshot = target.snapshot()
    assert snapshot is not None
    return [*outputs, *snapshot.outputs], counts


def test_a_trigger_waits_for_the_commit_if_a_deadline_made_it() -> None:
    trigger = Trigger("t", events=["page_viewed"], steps=(TriggerStep(), TriggerStep(HOUR)))
    one = engine(trigger)
    outputs, _ = emitted(one, [click(0)], 2 * HOUR)
    assert [output.step for output in outputs if isinstance(output, Triggered)] == [1, 2]


@pytest.mark.parametrize(
    ("emission", "sent", "withheld"),
    [
        ({}, [1, 2], {}),
        ({"emit_after": T0 + MINUTE}, [2], {"triggered/before_emit_after": 1}),
        ({"max_delay": 90 * MINUTE}, [2], {"triggered/delayed": 1}),
    ],
)
def test_triggers_are_withheld_as_abandonments_are(
    emission: dict[str, int], sent: list[int], withheld: dict[str, int]
) -> None:
    trigger = Trigger("t", events=["page_viewed"], steps=(TriggerStep(), TriggerStep(HOUR)))
    outputs, counts = emitted(engine(trigger, **emission), [click(0)], 2 * HOUR)
    assert [output.step for output in outputs if isinstance(output, Triggered)] == sent
    assert {
        label: n for (name, label), n in counts.items() if name == "outputs_withheld" and "trigg" in label
    } == withheld
    assert any(isinstance(output, StageChange) for output in outputs) is ("emit_after" not in emission)


def test_trigger_that_follows_a_withheld_abandonment_is_withheld() -> None:
    trigger = Trigger("t", on=OnAbandonment(kinds=["cart"]), steps=(TriggerStep(), TriggerStep(3 * HOUR)))
    outputs, counts = emitted(
        engine(trigger, max_delay=HOUR), [click(0, "product_added", "p-1")], 4 * HOUR + SECOND * 30
    )
    assert [output for output in outputs if isinstance(output, Triggered)] == []
    assert counts["outputs_withheld", "abandoned/delayed"] == 1
    assert counts["outputs_withheld", "triggered/follows_withheld"] == 2
