"""Triggers in playbooks: the shipped ones, and mistakes in others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given

from streams import playbooks
from streams.playbooks import PlaybookError, load, parse
from streams.replay.scenario_file import load as load_scenarios
from streams.replay.scenario_run import Expect, Scenario, run
from streams.settings import Settings
from tests.playbooks.random_edits import changed

ROOT = Path(__file__).parents[2]
TRIGGERS = (Path(playbooks.__file__).parent / "ecommerce-triggers.yaml").read_text()
SHIPPED = load("ecommerce-triggers")
NAMES = [trigger.name for trigger in SHIPPED.triggers]
SCENARIOS = load_scenarios(
    Path(playbooks.__file__).parent / "scenarios" / "ecommerce-triggers.scenarios.yaml"
).scenarios  # fmt: skip
BASE = """\
playbook: small
version: 1
event_types: [mine]
properties: {{score: number}}
abandonment: {{browse: off}}
tracks:
  lifecycle:
    initial: new
    transitions:
      - {{from: new, to: buyer, when: orders >= 1}}
triggers:
  hello: {0}
"""


def expected(scenario: Scenario, trigger: str) -> int:
    """Return how often the scenario expects the trigger."""
    outputs = [output for step in scenario.steps if isinstance(step, Expect) for output in step.outputs]
    return sum(output.get("trigger") == trigger for output in outputs)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[scenario.name for scenario in SCENARIOS])
def test_scenarios_of_the_shipped_triggers_pass(scenario: Scenario) -> None:
    assert run(scenario, SHIPPED, Settings()) is None


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_trigger_has_a_scenario_with_it_and_one_without(name: str) -> None:
    stories = [scenario for scenario in SCENARIOS if name in scenario.only]
    assert any(expected(story, name) for story in stories)
    # A scenario that expects no output of this trigger at its end shows where it must not come.
    assert any(isinstance(story.steps[-1], Expect) and story.steps[-1].outputs == [] for story in stories)


def test_every_shipped_trigger_is_documented() -> None:
    page = (ROOT / "docs" / "triggers.md").read_text()
    rows = re.findall(r"^\| `([a-z-]+)` \| .+ \| .+ \|$", page.partition("## Shipped triggers")[2], re.MULTILINE)
    assert rows == NAMES


def test_the_tracks_are_those_of_the_full_playbook() -> None:
    ours, full = (
        (ROOT / "streams" / "playbooks" / f"ecommerce-{name}.yaml").read_text() for name in ("triggers", "full")
    )
    tracks = full[full.index("abandonment:") :].strip()
    assert tracks in ours


def test_default_playbook_has_no_triggers() -> None:
    assert load().triggers == ()


@pytest.mark.parametrize(
    ("trigger", "message"),
    [
        (
            "{on: signd_up}",
            "12:15: 'signd_up' is neither a known event type nor one of event_types; did you mean",
        ),
        ("{on: signed_up, whn: orders > 1}", "did you mean when?"),
        ("{when: orders > 1}", "a trigger needs the key on"),
        ("{on: signed_up, when: ordres > 1}", "12:32: ordres is unknown; did you mean orders?"),
        ("{on: signed_up, when: orders}", "this is a number, but a yes-or-no value is expected here"),
        ("{on: {track: lifecycle, enters: byer}}", "track lifecycle has no stage 'byer'; did you mean buyer?"),
        ("{on: {track: tier, enters: gold}}", "there is no track 'tier'; known: lifecycle"),
        ("{on: {track: lifecycle}}", "add `enters` or `leaves`"),
        ("{on: {track: lifecycle, kind: cart}}", "`kind` cannot be combined with `track`"),
        ("{on: {enters: buyer}}", "`on` needs event types, or exactly one of track, abandonment, time, yearly"),
        ("{on: {abandonment: abandoned, kind: browse}}", "abandonments of the kind browse are off in this playbook"),
        ("{on: {abandonment: forgotten}}", "'forgotten' is not abandoned or recovered"),
        ("{on: {time: now}}", "this time does not stay the same"),
        ("{on: {time: orders}}", "this is a number, but a time is expected here"),
        ("{on: {yearly: event.properties.score}}", "this is a number, but a time is expected here"),
        ("{on: signed_up, holdout: 101%}", "'101%' is not a percentage"),
        ("{on: signed_up, holdout: 0.1}", "'0.1' is not a percentage"),
        ("{on: signed_up, cap: 0}", "a whole number from 1"),
        ("{on: signed_up, after: 3}", "'3' is not a duration"),
        ("{on: signed_up, after: 3d, steps: [{after: 4d}]}", "either `after` or `steps`"),
        ("{on: signed_up, steps: []}", "from 1 to 20 are allowed"),
        ("{on: signed_up, steps: [{after: 4d}, {after: 3d}]}", "each step must be later than the one before"),
        ("{on: signed_up, data: {x: {rule: event.nothing}}}", "event.nothing is unknown"),
        ("{on: signed_up, data: {x: [1]}}", "a list is not a text, a number, true, false, or {rule: …}"),
        ("{on: signed_up, data: {x: {rle: orders}}}", "did you mean rule?"),
        ("{on: signed_up, data: {x: " + "y" * 2000 + "}}", "at most 1,024 characters"),
    ],
)
def test_mistake_in_a_trigger_is_reported_with_its_place(trigger: str, message: str) -> None:
    with pytest.raises(PlaybookError) as raised:
        parse(BASE.format(trigger))
    assert message in str(raised.value)


def test_data_of_a_trigger_has_the_type_of_its_yaml_value() -> None:
    data = "{a: 1, b: 1.5, c: '1', d: true, e: text, f: -2, g: {rule: orders}, h: {rule: event.properties.score}}"
    playbook = parse(BASE.format("{on: [mine, signed_up], data: " + data + "}"))
    (trigger,) = playbook.triggers
    assert [datum.constant for datum in trigger.data] == [1, 1.5, "1", True, "text", -2, None, None]
    assert [datum.rule.text for datum in trigger.data if datum.rule is not None] == ["orders", "event.properties.score"]
    assert trigger.events == {"mine", "signed_up"}
    assert list(playbook.properties) == ["score"]


@given(changed(TRIGGERS, TRIGGERS.index("\ntriggers:")))
def test_no_change_to_the_triggers_crashes_the_loader(text: str) -> None:
    try:
        assert parse(text).tracks
    except PlaybookError as error:
        assert all(problem.line >= 1 and problem.column >= 1 for problem in error.problems)  # noqa: PT017


def test_begun_at_is_available_only_in_triggers() -> None:
    assert parse(BASE.format("{on: mine, unless: last_order_at >= begun_at}")).triggers
    with pytest.raises(PlaybookError, match="available only in the rules of a trigger"):
        parse(BASE.format("{on: mine}").replace("orders >= 1", "since(begun_at) > 1d"))
