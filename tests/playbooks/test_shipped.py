"""The shipped default playbook equals the reference: numbers, row by row, and output by output."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams import playbooks
from streams.core.lifecycle.playbook import Playbook
from streams.core.model.event import Event
from streams.core.model.outputs import StageChange
from streams.core.model.policy import DAY, Policy
from streams.core.profile.profile import Profile
from streams.core.rules.eval_context import EvalContext
from tests.support.boundary_profiles import boundary_profiles
from tests.support.history_strategies import histories, policies, untils
from tests.support.reference_comparison import assert_core_agrees, play_in_core
from tests.support.reference_track import INITIAL, TIMEOUT_TRANSITIONS, TRANSITIONS

DEFAULT = playbooks.load()


def test_the_default_has_the_numbers_of_the_core() -> None:
    assert DEFAULT.policy == Policy()
    plain = Playbook(tracks=DEFAULT.tracks)
    assert msgspec.structs.replace(DEFAULT, name=plain.name, version=plain.version, digest=plain.digest) == plain


def test_the_default_has_the_rows_of_the_reference_in_their_order() -> None:
    [track] = DEFAULT.tracks
    assert (track.name, track.initial) == ("lifecycle", INITIAL)
    assert [(row.sources, row.target, row.starts_cycle) for row in track.transitions] == [
        (row.sources, row.target, row.starts_cycle) for row in TRANSITIONS
    ]
    assert [(row.sources, row.target) for row in track.timeout_transitions] == [
        (row.sources, row.target) for row in TIMEOUT_TRANSITIONS
    ]


@pytest.mark.parametrize("number", range(len(TRANSITIONS)))
def test_each_transition_agrees_with_its_row_of_the_reference(number: int) -> None:
    transition, row = DEFAULT.tracks[0].transitions[number], TRANSITIONS[number]
    outcomes = set()
    for profile, active in boundary_profiles():
        expected = row.when(profile, active)
        assert transition.matches(EvalContext(profile, None, profile.last_seen_at, active)) is expected
        outcomes.add(expected)
    assert outcomes == {True, False}


@pytest.mark.parametrize("number", range(len(TIMEOUT_TRANSITIONS)))
@pytest.mark.parametrize("last_activity_at", [None, 5 * DAY, 7 * DAY])
@pytest.mark.parametrize("last_order_at", [None, 3 * DAY])
def test_each_timeout_transition_agrees_with_its_row_of_the_reference(
    number: int, last_activity_at: int | None, last_order_at: int | None
) -> None:
    profile, row = Profile("c", True), TIMEOUT_TRANSITIONS[number]
    profile.stage = row.sources[0]
    profile.entered_at, profile.last_activity_at, profile.last_order_at = 6 * DAY, last_activity_at, last_order_at
    due = DEFAULT.tracks[0].timeout_transitions[number].due(EvalContext(profile, None, 0))
    assert due == row.due(profile)


@given(histories(), policies(), st.data())
def test_the_shipped_default_gives_the_outputs_of_the_reference(
    events: list[Event], policy: Policy, data: st.DataObject
) -> None:
    until = data.draw(untils(events))
    assert_core_agrees(events, policy, until)
    outputs, _ = play_in_core(events, policy, until)
    assert any(isinstance(output, StageChange) for output in outputs)
