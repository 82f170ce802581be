"""The reference accepts all histories, whatever the core makes of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.core.model.event import Event
from streams.core.model.outputs import Abandonment
from streams.core.model.policy import SECOND, Policy
from tests.support.history_strategies import histories, late, policies, untils
from tests.support.reference_lifecycle import final, reference

in_any_order = histories() | histories(st.integers(0, 10 * SECOND)) | histories(late)


@given(in_any_order, policies(), st.data())
def test_reference_accepts_all_histories_and_is_deterministic(
    events: list[Event], policy: Policy, data: st.DataObject
) -> None:
    until = data.draw(untils(events))
    assert reference(events, policy, until) == reference(events, policy, until)
    assert final(events, policy, until) == final(events, policy, until)


@given(in_any_order, policies(), st.data())
def test_abandonments_of_the_reference_are_closed_once(
    events: list[Event], policy: Policy, data: st.DataObject
) -> None:
    ended: set[str] = set()
    for output in reference(events, policy, data.draw(untils(events))):
        if isinstance(output, Abandonment):
            assert output.abandonment_id not in ended
            if output.type != "abandoned":
                ended.add(output.abandonment_id)
            elif output.supersedes is not None:
                ended.add(output.supersedes)
