"""Mistakes in a playbook are reported with their place and the allowed values. No text crashes the loader."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams import playbooks
from streams.errors import UserError
from streams.playbooks import PlaybookError, PlaybookProblem, parse
from streams.playbooks.yaml_tree import DEEPEST, MOST_CHARACTERS
from tests.playbooks.random_edits import changed

ECOMMERCE = Path(playbooks.__file__).with_name("ecommerce.yaml").read_text()
SMALL = """\
playbook: small
version: 1
tracks:
  lifecycle:
    initial: new
    transitions:
      - {from: new, to: buyer, when: orders >= 1}
      - {from: buyer, to: idle, after: 30d, since: last_order_at}
"""

MISTAKES = {
    "an unknown key": ("version: 1", "version: 1\nsesion_gap: 30m", (3, 1), "did you mean session_gap?"),
    "a missing key": ("playbook: small\n", "", (1, 1), "a playbook needs the key playbook"),
    "a version that is not a whole number": ("version: 1", "version: 1.5", (2, 10), "a whole number from 1"),
    "a name in the rule": ("orders >= 1", "ordres >= 1", (7, 38), "did you mean orders?"),
    "a type in the rule": ("orders >= 1", "orders >= 30d", (7, 38), ""),
    "an unknown stage": ("from: buyer", "from: buyr", (8, 16), "did you mean buyer?"),
    "from itself to itself": ("from: new", "from: buyer", (7, 16), "to itself"),
    "a duration": ("30d", "30 days", (8, 40), "such as 30m"),
    "a time that is a number": ("since: last_order_at", "since: orders", (8, 52), "a time"),
    "a time that changes constantly": ("since: last_order_at", "since: now", (8, 52), "does not stay the same"),
    "a timeout without its time": (", since: last_order_at", "", (8, 9), "either `when`, or both `after` and `since`"),
    "a stage in quotes of a rule": ("orders >= 1", "stage('lifecycle') == 'byer'", (7, 60), "did you mean buyer?"),
    "an unknown track": ("orders >= 1", "stage('tier') == 'gold'", (7, 44), "lifecycle"),
    "an event type": ("orders >= 1", "count('product_vewed') >= 1", (7, 44), "did you mean product_viewed?"),
    "a list for a table": ("  lifecycle:\n", "  lifecycle: [new]\n  other:\n", (4, 14), "is not a track"),
    "YAML": ("tracks:", "tracks: [", (5, 12), "this is not YAML"),
    "a name twice": ("version: 1", "version: 1\nversion: 2", (3, 1), "is already defined in line 2"),
    "an anchor": ("version: 1", "version: &a 1", (2, 10), "anchors and aliases"),
    "a tag": ("version: 1", "version: !!python/object:os.system 1", (2, 10), "tags (!)"),
    "a second document": (SMALL, SMALL + "---\n" + SMALL, (9, 1), "one document"),
    "an empty file": (SMALL, "# nothing\n", (1, 1), "the file is empty"),
    "a forbidden character": ("small", "sm\x00all", (1, 13), "not allowed in a text file"),
    "the steps of a ladder": (
        "tracks:", "abandonment: {cart: {after: 60m, steps: [30m]}}\ntracks:", (3, 21), "later than the one before",
    ),
    "the precedence": (
        "tracks:", "abandonment: {browse: off, precedence: [cart, browse]}\ntracks:", (3, 40), "once: checkout, cart",
    ),
    "a currency": ("version: 1", "version: 1\ncurrency: EURO", (3, 11), "ISO 4217"),
    "a stage renamed to an unknown one": (
        "version: 1", "version: 2\nrenamed: {2: {lifecycle: {old: byer}}}", (3, 1), "has no stage byer",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake_is_reported_with_its_place(name: str) -> None:
    before, after, place, message = MISTAKES[name]
    assert before in SMALL
    with pytest.raises(PlaybookError) as raised:
        parse(SMALL.replace(before, after, 1), "small.yaml")
    found = [(problem.line, problem.column) for problem in raised.value.problems]
    assert found[0] == place, raised.value
    assert message in str(raised.value)
    assert str(raised.value).startswith(f"small.yaml:{place[0]}:{place[1]}: ")


def test_playbook_without_a_mistake_is_accepted() -> None:
    playbook = parse(SMALL)
    assert [track.name for track in playbook.tracks] == ["lifecycle"]
    assert (playbook.name, playbook.version) == ("small", 1)


def test_all_mistakes_are_reported_at_once() -> None:
    text = SMALL.replace("version: 1", "version: none").replace("30d", "soon").replace("initial", "intial")
    with pytest.raises(PlaybookError) as raised:
        parse(text)
    assert [problem.line for problem in raised.value.problems] == [2, 5, 5, 8]


def test_missing_playbook_is_reported_with_a_suggestion() -> None:
    with pytest.raises(UserError, match="did you mean ecommerce"):
        playbooks.load("ecomerce")
    with pytest.raises(UserError, match="cannot be read: No such file"):
        playbooks.load("/nowhere/playbook.yaml")


def test_oversized_playbook_is_rejected_at_once() -> None:
    for text, message in (
        ("x" * (MOST_CHARACTERS + 1), "at most"),
        ("[" * 10_000, "nested more than"),
        ("a: " + "[\n" * (DEEPEST + 5), "nested more than"),
        ("- 1\n" * 30_000, "values"),
        ("a: &a [1]\nb: [*a, *a]\n", "anchors"),
    ):
        with pytest.raises(PlaybookError, match=message):
            parse(text)


@given(st.text(max_size=300))
def test_no_text_crashes_the_loader(text: str) -> None:
    with pytest.raises(PlaybookError):
        parse(text)


@given(changed(ECOMMERCE))
def test_no_change_to_a_playbook_crashes_the_loader(text: str) -> None:
    problems: tuple[PlaybookProblem, ...] = ()
    with suppress(PlaybookError):
        try:
            assert parse(text).tracks
        except PlaybookError as error:
            problems = error.problems
            raise
    assert all(problem.line >= 1 and problem.column >= 1 for problem in problems)
