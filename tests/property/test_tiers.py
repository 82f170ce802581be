"""Packed profiles and timers on a disk that crashes give the results of those in memory."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from streams.core.model.event import Event, Source
from streams.core.model.policy import DAY, HOUR, MINUTE
from tests.support.reference_comparison import CustomerKey, by_customer, profile_view
from tests.support.single_partition import SinglePartitionHarness, without_repeats

NOON = 1_763_719_200_000

activities = st.builds(
    lambda type, customer, identified, product: (type, customer, identified, product),
    st.sampled_from(["page_viewed", "product_viewed", "product_added", "checkout_started", "order_completed"]),
    st.sampled_from("abcde"),
    st.booleans(),
    st.sampled_from(["p", "q"]),
)
waits = st.sampled_from([0, 1, MINUTE, 29 * MINUTE, HOUR, 25 * HOUR, 8 * DAY, 31 * DAY, 200 * DAY, 500 * DAY])
stages = st.sampled_from(["changelog", "disk", "outputs"])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("events"), st.lists(activities, min_size=1, max_size=4)),
        st.tuples(st.just("wait"), waits),
        st.tuples(st.just("commit"), st.tuples(waits, st.lists(activities, max_size=2))),
        st.tuples(st.just("commit"), st.tuples(st.just(0), st.just(()))),
        st.tuples(st.just("crash"), st.tuples(waits, stages, st.integers(0, 3))),
        st.tuples(st.just("stale owner"), st.integers(0, 5)),
    ),
    max_size=25,
)


class OnDisk(SinglePartitionHarness):
    on_disk = True


def activity(n: int, at: int, type: str, customer: str, identified: bool, product: str) -> Event:
    order = type == "order_completed"
    return Event(
        source=Source.ORDERS if order else Source.CLICKSTREAM, offset=-1, timestamp=0, size=100, at=at,
        customer=customer, identified=identified, event_id=f"e{n}", type=type, currency="EUR", product_id=product,
        order_id=f"o{n}" if order else None, total=1000 if order else None,
    )  # fmt: skip


@given(steps)
def test_disk_state_gives_the_outputs_of_memory_state(steps: list[tuple[str, Any]]) -> None:
    drivers: list[SinglePartitionHarness] = [SinglePartitionHarness(NOON), OnDisk(NOON)]
    made = 0

    def live(harness: SinglePartitionHarness, wait: int, events: Sequence[tuple[str, str, bool, str]]) -> None:
        harness.now += wait
        harness.append(*(activity(made + n, harness.now, *event) for n, event in enumerate(events)))
        harness.fetch()

    for what, how in steps:
        for harness in drivers:
            match what:
                case "events":
                    live(harness, 0, how)
                case "wait":
                    live(harness, how, ())
                case "commit":
                    harness.commit(meanwhile=partial(live, harness, *how))
                case "crash":
                    wait, step, lost = how
                    harness.commit(crash_after=step, meanwhile=partial(live, harness, wait, ()))
                    if harness.disk is not None:
                        harness.disk.lose(lost)
                    harness.restart()
                case "stale owner":  # it writes a record again
                    if len(harness.changelog) > how:
                        harness.changelog.append(harness.changelog[-1 - how])
        made += 4
        assert visible_state(drivers[0]) == visible_state(drivers[1])
    for harness in drivers:
        harness.commit()
        harness.now += 600 * DAY
        harness.fetch()
        harness.commit()
        harness.restart()
    assert visible_state(drivers[0]) == visible_state(drivers[1])
    assert by_customer(without_repeats(drivers[0].received)) == by_customer(without_repeats(drivers[1].received))


def visible_state(harness: SinglePartitionHarness) -> tuple[Any, ...]:
    state, policy = harness.engine.state, harness._lifecycle.policy
    profiles: dict[CustomerKey, dict[str, Any]] = {
        (profile.identified, profile.customer): profile_view(profile, policy) for _, profile in state.items()
    }
    return profiles, dict(state.population), len(state), len(state.timers), sorted(state)


def test_a_restart_reads_only_what_is_not_on_disk() -> None:
    harness = OnDisk(NOON)
    for n in range(5):
        harness.run(activity(n, NOON, "product_viewed", "abcde"[n], True, "p"))
    harness.restart()
    assert (harness.restored_records, len(harness.changelog)) == (0, 5)
    harness.append(activity(5, NOON, "product_viewed", "a", True, "p"))
    harness.fetch()
    harness.commit(crash_after="changelog")
    harness.restart()
    assert (harness.restored_records, len(harness.changelog)) == (1, 6)
    assert harness.disk is not None
    harness.disk.lose(3)  # the starts write too
    harness.restart()
    assert harness.restored_records == 2
