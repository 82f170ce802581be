"""Several tracks side by side, and playbooks that change."""

from __future__ import annotations

from collections import Counter

from streams.core.lifecycle.lifecycle import Lifecycle
from streams.core.lifecycle.playbook import Playbook
from streams.core.model.counters import EngineCounters
from streams.core.model.event import Event
from streams.core.model.outputs import Output, StageChange
from streams.core.profile.codec import pack, peek, unpack
from streams.core.store.task_state import TaskState, record_key
from streams.playbooks import parse
from tests.support.customer_history import DAY, HOUR, T0, click, order
from tests.support.memory_disk import MemoryDisk

TWO = """
playbook: two
version: 1
abandonment: off
forget: {identified: 400d}
tracks:
  lifecycle:
    initial: visitor
    transitions:
      - {from: visitor, to: customer, when: orders >= 1}
      - {from: customer, to: vip, when: stage('tier') == 'gold' and orders_in_stage >= 0}
      - {from: vip, to: customer, when: stage('tier') != 'gold'}
  tier:
    initial: bronze
    transitions:
      - {from: bronze, to: silver, when: spend(last='365d') >= 100}
      - {from: silver, to: gold, when: spend(last='365d') >= 500}
      - {from: gold, to: silver, when: spend(last='365d') < 500}
      - {from: silver, to: bronze, when: spend(last='365d') < 100}
      - {from: bronze, to: asleep, after: 30d, since: "max(entered_at, last_activity_at)"}
      - {from: asleep, to: bronze, when: activity}
"""


class Customer:
    """One customer under playbooks that may change, with the outputs. `at` counts from T0."""

    def __init__(self, playbook: Playbook) -> None:
        self.lifecycle = Lifecycle(playbook)
        self.profile = self.lifecycle.new("c-1", True)
        self.outputs: list[Output] = []
        self.counts: EngineCounters = Counter()

    def play(self, *events: Event) -> Customer:
        for event in events:
            self.until(event.at - T0)
            self.lifecycle.apply(self.profile, event, self.outputs, self.counts)
        return self

    def until(self, at: int) -> Customer:
        while (due := self.profile.next_deadline) is not None and due <= T0 + at:
            self.lifecycle.fire(self.profile, self.outputs, self.counts)
        return self

    def under(self, playbook: Playbook) -> Customer:
        """Continue under another playbook. The profile is packed and unpacked, as in a restart."""
        self.lifecycle, self.profile, self.outputs = Lifecycle(playbook), unpack(pack(self.profile)), []
        return self

    @property
    def changes(self) -> list[tuple[str, str | None, str | None, int, str]]:
        """Return track, from, to, time and cause of the stage changes."""
        return [
            (output.track, output.from_stage, output.to_stage, output.occurred_at - T0, output.cause.kind)
            for output in self.outputs
            if isinstance(output, StageChange)
        ]


def test_tracks_run_side_by_side_and_fall_back_by_time_alone() -> None:
    customer = Customer(parse(TWO)).play(click(0), order(HOUR, "o-1", total=60_000), click(2 * HOUR))
    assert customer.changes == [
        ("lifecycle", None, "visitor", 0, "activity"),
        ("tier", None, "bronze", 0, "activity"),
        ("lifecycle", "visitor", "customer", HOUR, "activity"),
        ("tier", "bronze", "silver", HOUR, "activity"),
        ("tier", "silver", "gold", HOUR, "activity"),
        ("lifecycle", "customer", "vip", HOUR, "activity"),  # the stage of the other track changed later
    ]
    left = 365 * DAY + HOUR
    customer.outputs.clear()
    assert customer.until(left - 1).changes == []
    assert customer.until(left).changes == [
        ("tier", "gold", "silver", left, "inactivity"),
        ("tier", "silver", "bronze", left, "inactivity"),
        ("lifecycle", "vip", "customer", left, "inactivity"),
    ]
    assert customer.until(left + 30 * DAY).changes[3:] == [
        ("tier", "bronze", "asleep", left + 30 * DAY, "inactivity"),
    ]
    deadlines = [output.cause.deadline for output in customer.outputs if isinstance(output, StageChange)]
    assert deadlines == [T0 + left] * 3 + [T0 + left + 30 * DAY]


def test_each_track_has_its_own_sequence_and_ids_differ() -> None:
    customer = Customer(parse(TWO)).play(click(0), order(HOUR, "o-1", total=60_000))
    sequences = [(output.track, output.sequence) for output in customer.outputs if isinstance(output, StageChange)]
    assert sequences == [
        ("lifecycle", 1), ("tier", 1), ("lifecycle", 2), ("tier", 2), ("tier", 3), ("lifecycle", 3),
    ]  # fmt: skip
    assert len({output.id for output in customer.outputs}) == len(sequences)


def test_batch_and_deadline_give_the_same_outputs() -> None:
    """Time passes by a watermark, or shows in the next event."""
    events = [click(0), order(HOUR, "o-1", total=60_000), click(500 * DAY)]
    slowly = Customer(parse(TWO)).play(*events[:2])
    for day in range(0, 500, 7):
        slowly.until(day * DAY)
    assert slowly.play(events[2]).outputs == Customer(parse(TWO)).play(*events).outputs


def test_forgetting_ends_every_track() -> None:
    customer = Customer(parse(TWO)).play(click(0)).until(400 * DAY)
    assert customer.changes[-2:] == [
        ("lifecycle", "visitor", None, 400 * DAY, "forgotten"),
        ("tier", "asleep", None, 400 * DAY, "forgotten"),
    ]
    assert (customer.profile.stage, customer.profile.tracks, customer.profile.next_deadline) == (None, None, None)


def test_a_profile_of_several_tracks_is_packed_with_its_stages_in_front() -> None:
    profile = Customer(parse(TWO)).play(click(0), order(HOUR, "o-1", total=20_000)).profile
    assert unpack(pack(profile)) == profile
    assert peek(pack(profile)).places == (("tier", "silver"),)


def test_population_counts_every_track_after_recovery_and_from_disk() -> None:
    disk = MemoryDisk()
    lifecycle, state, restored = Lifecycle(parse(TWO)), TaskState(disk=disk), TaskState()
    outputs: list[Output] = []
    for name, total in (("c-1", 20_000), ("c-2", 90_000), ("c-3", 1_000), ("c-4", 1_000)):
        profile = lifecycle.new(name, True)
        state.put(record_key(name, True), profile)
        lifecycle.apply(profile, order(0, f"o-{name}", total=total, customer=name), outputs, Counter())
        state.note_change(record_key(name, True), profile, None, (), None)
    expected = {("tier", "silver"): 1, ("tier", "gold"): 1, ("tier", "bronze"): 2}
    assert state.places == expected
    for key, value in state.changes(1, {}):
        restored.restore(key, value)
        restored.restore(key, value)  # a second time changes nothing
    state.write_to_disk(b"")
    assert restored.places == TaskState(disk=disk).places == expected
    assert restored.population == {"customer": 3, "vip": 1}


# -- a changed playbook

RENAMED = (
    TWO.replace("version: 1", "version: 2\nrenamed: {2: {tier: {gold: platinum, silver: gold}}}")
    .replace("gold", "platinum").replace("silver", "gold")
    .replace("{platinum: platinum, gold: platinum}", "{gold: platinum, silver: gold}")
)  # fmt: skip


def test_new_version_renames_the_stage_at_the_next_event() -> None:
    customer = Customer(parse(TWO)).play(order(0, "o-1", total=20_000)).under(parse(RENAMED))
    assert customer.play(click(HOUR)).changes == [("tier", "silver", "gold", HOUR, "playbook")]
    assert customer.profile.playbook_version == 2
    assert customer.profile.tracks is not None
    assert customer.profile.tracks[0].entered_at == T0  # the same stage by another name
    assert customer.play(click(2 * HOUR)).changes[1:] == []


def test_renames_of_skipped_versions_are_applied() -> None:
    third = RENAMED.replace("version: 2\n", "version: 3\n").replace("}}}", "}}, 3: {tier: {bronze: iron}}}")
    third = (
        third.replace("initial: bronze", "initial: iron")
        .replace("[bronze", "[iron")
        .replace("from: bronze", "from: iron")
    )
    third = third.replace("to: bronze", "to: iron")
    customer = Customer(parse(TWO)).play(order(0, "o-1", total=90_000), click(1)).under(parse(third))
    assert customer.play(click(HOUR)).changes == [("tier", "gold", "platinum", HOUR, "playbook")]
    poor = Customer(parse(TWO)).play(click(0)).under(parse(third))
    assert poor.play(click(HOUR)).changes == [("tier", "bronze", "iron", HOUR, "playbook")]


def test_customer_of_a_removed_stage_enters_the_stage_that_the_rules_give() -> None:
    without = TWO.replace("version: 1", "version: 2")
    for row in (
        "from: silver, to: gold, when: spend(last='365d') >= 500",
        "from: gold, to: silver, when: spend(last='365d') < 500",
    ):
        without = without.replace(f"      - {{{row}}}\n", "")
    without = without.replace(
        "      - {from: customer, to: vip, when: stage('tier') == 'gold' and orders_in_stage >= 0}\n", ""
    )
    without = without.replace("      - {from: vip, to: customer, when: stage('tier') != 'gold'}\n", "")
    customer = Customer(parse(TWO)).play(order(0, "o-1", total=90_000)).under(parse(without))
    assert customer.play(click(HOUR)).changes == [
        ("lifecycle", "vip", "customer", HOUR, "playbook"),
        ("tier", "gold", "silver", HOUR, "playbook"),
    ]


CLUB = """
playbook: club
version: 1
event_types: [subscription_started, subscription_bought]
tracks:
  lifecycle:
    initial: guest
    transitions:
      - {from: guest, to: subscriber, when: event.type == 'subscription_started'}
      - {from: guest, to: buyer, when: orders >= 1}
      - {from: subscriber, to: fan, when: orders_in_stage >= 2}
"""


def test_stage_that_an_event_led_to_is_kept_with_its_time_and_its_orders() -> None:
    customer = Customer(parse(CLUB)).play(click(0, "subscription_started"), order(HOUR, "o-1"))
    assert customer.profile.stage == "subscriber"
    # Under the next version another event leads there, and from the start this customer would be a buyer.
    customer.under(
        parse(CLUB.replace("version: 1", "version: 2").replace("'subscription_started'", "'subscription_bought'"))
    )
    assert customer.play(click(DAY)).changes == []
    assert (customer.profile.stage, customer.profile.entered_at) == ("subscriber", T0)
    assert customer.profile.playbook_version == 2
    assert customer.play(order(2 * DAY, "o-2")).changes == [("lifecycle", "subscriber", "fan", 2 * DAY, "activity")]


def test_customer_of_a_removed_stage_that_an_event_led_to_goes_where_counts_lead() -> None:
    without = parse(CLUB.replace("subscriber", "member").replace("version: 1", "version: 2"))
    poor = Customer(parse(CLUB)).play(click(0, "subscription_started")).under(without)
    assert poor.play(click(DAY)).changes == [("lifecycle", "subscriber", "guest", DAY, "playbook")]
    buyer = Customer(parse(CLUB)).play(click(0, "subscription_started"), order(HOUR, "o-1")).under(without)
    assert buyer.play(click(DAY)).changes == [("lifecycle", "subscriber", "buyer", DAY, "playbook")]


def test_new_track_is_entered_and_removed_track_is_left() -> None:
    single = parse(
        TWO[: TWO.index("  tier:")]
        .replace(" and orders_in_stage >= 0", "")
        .replace("stage('tier') == 'gold'", "orders >= 2")
        .replace("stage('tier') != 'gold'", "orders < 2")
    )
    customer = Customer(single).play(order(0, "o-1", total=20_000))
    assert customer.profile.tracks is None
    customer.under(parse(TWO)).play(click(HOUR))
    assert customer.changes == [("tier", None, "silver", HOUR, "playbook")]
    customer.under(single).play(click(2 * HOUR))
    assert customer.changes == [("tier", "silver", None, 2 * HOUR, "playbook")]


def test_changed_playbook_applies_at_a_deadline_and_without_a_new_version() -> None:
    customer = Customer(parse(TWO)).play(order(0, "o-1", total=20_000))
    customer.under(parse(TWO.replace("< 100}", "< 300}"))).until(365 * DAY)
    assert customer.changes == [("tier", "silver", "bronze", 365 * DAY, "playbook")]
    assert customer.profile.playbook_tag != parse(TWO).tag
