"""The shipped default playbook equals the table in the core, rule by rule and output by output."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams import playbooks
from streams.core.lifecycle.playbook import Playbook
from streams.core.lifecycle.tracks import TIMEOUT_TRANSITIONS, TRANSITIONS
from streams.core.model.event import Event
from streams.core.model.outputs import StageChange
from streams.core.model.policy import Policy
from streams.core.rules.eval_context import EvalContext
from tests.support.boundary_profiles import boundary_profiles
from tests.support.history_strategies import histories, policies, untils
from tests.support.reference_comparison import assert_core_agrees, by_customer, play_in_core

DEFAULT = playbooks.load()


def test_the_default_has_the_numbers_of_the_core() -> None:
    assert DEFAULT.policy == Policy()
    assert (DEFAULT.abandonment, DEFAULT.sessions, DEFAULT.counted_types) == (True, True, frozenset())
    assert msgspec.structs.replace(
        DEFAULT, name="default", version=0, digest="", tracks=Playbook().tracks
    ) == Playbook()  # fmt: skip


def test_the_default_has_the_rows_of_the_core_in_their_order() -> None:
    [track] = DEFAULT.tracks
    assert (track.name, track.initial) == ("lifecycle", "visitor")
    assert [(row.sources, row.target, row.starts_cycle) for row in track.transitions] == [
        (row.sources, row.target, row.starts_cycle) for row in TRANSITIONS
    ]
    assert [(row.sources, row.target) for row in track.timeout_transitions] == [
        (row.sources, row.target) for row in TIMEOUT_TRANSITIONS
    ]


@pytest.mark.parametrize("number", range(len(TRANSITIONS)))
def test_each_rule_agrees_with_its_row_of_the_core(number: int) -> None:
    ours, written = DEFAULT.tracks[0].transitions[number], TRANSITIONS[number]
    outcomes = set()
    for profile, active in boundary_profiles():
        context = EvalContext(profile, None, profile.last_seen_at, active)
        outcomes.add(holds := written.holds(context))
        assert ours.holds(context) is holds
    assert outcomes == {True, False}


@given(histories(), policies(), st.data())
def test_the_default_gives_the_same_outputs(events: list[Event], policy: Policy, data: st.DataObject) -> None:
    until = data.draw(untils(events))
    assert_core_agrees(events, policy, until)  # the table of the core agrees with the reference
    written, of_written = play_in_core(events, policy, until)
    shipped, of_shipped = play_in_core(events, policy, until, DEFAULT)
    assert by_customer(shipped) == by_customer(written)
    for profile in of_shipped.values():
        profile.playbook_version = profile.playbook_tag = 0
    assert of_shipped == of_written
    assert any(isinstance(output, StageChange) for output in shipped)
