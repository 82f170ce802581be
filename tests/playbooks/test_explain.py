"""`lifecycle explain` and `lifecycle validate`: the drawing shows what the engine runs, whatever the stages are
called."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from streams import playbooks
from streams.cli import main
from streams.core.lifecycle.tracks import TimeoutTransition, Track, Transition
from streams.core.model.policy import DAY
from streams.core.rules.compiler import compile_rule
from streams.core.rules.types import Type
from streams.core.rules.vocabulary import Vocabulary
from streams.playbooks import diagram, explanation
from streams.playbooks.transition_rows import TransitionRow, rows_of, unreachable

DEFAULT = playbooks.load("ecommerce")
ORDERED = compile_rule("orders >= 1", Vocabulary())
ENTERED_AT = compile_rule("entered_at", Vocabulary(), Type.TIME)
SVG = "{http://www.w3.org/2000/svg}"


def lifecycle(*args: str | Path) -> Result:
    return CliRunner().invoke(main, [*map(str, args)])


def small(*rows: str, name: str = "small", more: str = "") -> str:
    lines = ["playbook: " + name, "version: 1", "tracks:", "  lifecycle:", "    initial: a", "    transitions:"]
    return "\n".join([*lines, *(f"      - {row}" for row in rows), more]) + "\n"


def drawn(rows: list[TransitionRow], initial: str = "a") -> str:
    stages = list(dict.fromkeys([initial, *(row.target for row in rows), *(s for row in rows for s in row.sources)]))
    return diagram.draw("t", "n", initial, stages, rows)


# -------------------------------------------------------------------------------------------------------------- explain


def test_the_text_names_every_row_and_window() -> None:
    shown = lifecycle("explain", "ecommerce").output
    for row in rows_of(DEFAULT.tracks[0]):
        rule = row.label if row.is_timeout else f"when {row.label}"
        assert re.search(rf"^  {row.target} +{re.escape(rule)}$", shown, re.MULTILINE)
        assert all(source in shown for source in row.sources)
    assert "A cart is abandoned after 1h without activity, with further steps after 1d and 3d." in shown
    assert "An anonymous customer without any order is forgotten 90d after the last event." in shown


def test_transition_without_a_source_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(small("{from: any, to: a, when: orders >= 1}"))
    assert "a  when orders >= 1\n       from no stage\n" in lifecycle("explain", path).output


def test_trigger_is_explained_in_words() -> None:
    shown = lifecycle("explain", "ecommerce-triggers").output
    assert (
        "    begins when a customer leaves the stage bronze or silver and enters the stage gold or silver of the"
        in shown
    )
    assert (
        "    begins at the output abandoned of a cart abandonment, step 1\n    has steps at once and after 2d\n"
        in shown
    )
    assert "    begins each year at first_order_at\n" in shown


def test_mermaid_has_the_edges_of_the_tables() -> None:
    shown = lifecycle("explain", "ecommerce", "--mermaid").output
    assert shown.startswith("stateDiagram-v2\n    state")
    edges = set(re.findall(r"^    lifecycle_(\w+) --> lifecycle_(\w+): ", shown, re.MULTILINE))
    assert edges == {(source, row.target) for row in rows_of(DEFAULT.tracks[0]) for source in row.sources}
    assert "    [*] --> lifecycle_visitor\n" in shown
    assert "lifecycle_loyal --> lifecycle_advocate: reviews + referrals >= 1\n" in shown


def test_mermaid_of_hostile_names_is_valid() -> None:
    track = Track('t"}\n', 'a: b;"', (Transition(('a: b;"',), "--> x", ORDERED),))
    text = r'(?:[^":;<{}\n]|#\d+;)*'
    shapes = re.compile(rf'state "{text}" as \w+|\[\*\] --> \w+|\w+ --> \w+: {text}')
    lines = list(explanation._mermaid(track))
    assert len(lines) == 4
    assert all(shapes.fullmatch(line) for line in lines)


def test_several_tracks_are_one_diagram_and_drawn_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "two.yaml"
    tier = "  tier:\n    initial: low\n    transitions:\n      - {from: low, to: high, when: orders >= 3}"
    path.write_text(small("{from: a, to: b, when: orders >= 1}", more=tier))
    shown = lifecycle("explain", path, "--mermaid").output
    assert '    state "lifecycle" as lifecycle {\n        state "a" as lifecycle_a\n' in shown
    assert shown.count("{") == shown.count("}") == 2
    assert ">lifecycle</text>" in lifecycle("explain", path, "--svg").output
    assert ">tier</text>" in lifecycle("explain", path, "--svg", "--track", "tier").output
    result = lifecycle("explain", path, "--svg", "--track", "tire")
    assert (result.exit_code, result.output) == (
        2,
        f"lifecycle: there is no track tire in {path}: it has lifecycle, tier.\n",
    )


def test_the_drawing_has_every_stage_and_row() -> None:
    root = ET.fromstring(lifecycle("explain", "ecommerce", "--svg").output)
    texts = [element.text for element in root.iter(f"{SVG}text")]
    track = DEFAULT.tracks[0]
    assert set(track.stages) <= set(texts)
    titles = [group.findtext(f"{SVG}title") for group in root.iter(f"{SVG}g") if "row" in (group.get("class") or "")]
    assert sorted(map(str, titles)) == sorted(
        f"{', '.join(row.sources)} to {row.target}: {row.label}" for row in rows_of(track)
    )


def test_hostile_names_are_escaped_in_the_drawing() -> None:
    root = ET.fromstring(drawn([TransitionRow(("a",), "<script>", 'x < "1" & y', False)]))
    assert not list(root.iter(f"{SVG}script"))
    assert "<script>" in [element.text for element in root.iter(f"{SVG}text")]


names = st.sampled_from("abcdefgh")
row_lists = st.lists(
    st.builds(
        TransitionRow,
        st.lists(names, min_size=1, max_size=5, unique=True).map(tuple),
        names,
        st.text(max_size=90),
        st.booleans(),
    ),
    min_size=1,
    max_size=25,
    unique=True,
)


@given(row_lists)
def test_drawing_has_no_overlapping_cards_or_lanes(rows: list[TransitionRow]) -> None:
    stages = list(dict.fromkeys(["a", *(row.target for row in rows), *(s for row in rows for s in row.sources)]))
    order = diagram.arrange("a", stages, rows)
    assert (order[0], sorted(order)) == ("a", sorted(stages))
    cards = list(diagram._cards(order, rows))
    assert all(above.top + above.height < below.top for above, below in itertools.pairwise(cards))
    heads = {card.stage: card.top + diagram.HEAD // 2 for card in cards}
    for late in (False, True):
        of_side = [row for row in rows if row.is_timeout is late]
        ways: dict[int, list[tuple[int, int]]] = {}
        for row, lane in diagram._lanes(of_side, cards).items():
            ends = [y for card in cards for other, y, _ in card.rows if other == row]
            ends += [heads[source] for source in row.sources]
            ways.setdefault(lane, []).append((min(ends), max(ends)))
        for taken in ways.values():
            taken.sort()
            assert all(before[1] < after[0] for before, after in itertools.pairwise(taken))


# ------------------------------------------------------------------------------------------------------------- validate


@pytest.mark.parametrize(
    ("rows", "warning"),
    [
        (["{from: a, to: b, when: orders >= 1}", "{from: b, to: a, when: orders == 0}"], None),
        (
            ["{from: c, to: d, when: orders >= 1}", "{from: d, to: c, when: activity}"],
            "no customer can reach the stage d",
        ),
        (
            ["{from: a, to: b, when: orders >= 1}", "{from: a, to: c, when: orders >= 1}"],
            "the transition from a to c never applies: the one to b has the same rule and comes first",
        ),
    ],
)
def test_rules_without_effect_give_warnings(tmp_path: Path, rows: list[str], warning: str | None) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(small(*rows))
    result = lifecycle("validate", path)
    assert result.exit_code == 0
    first, *warnings = result.output.splitlines()
    assert first == f"{path}: small, version 1: 1 track, 2 transitions"
    assert warnings[:1] == ([] if warning is None else [f"{path}: warning: track lifecycle: {warning}"])


def test_mistakes_are_reported_with_line_and_column_and_exit_code_2(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(small("{from: a, to: b, when: ordres >= 1}"))
    result = lifecycle("validate", "ecommerce", path)
    assert result.exit_code == 2
    assert "ecommerce: ecommerce, version 1: 1 track, 15 transitions\n" in result.output
    assert re.search(rf"^{re.escape(str(path))}:7:\d+: .*orders", result.output, re.MULTILINE)


def test_shipped_playbooks_give_no_warnings() -> None:
    result = lifecycle("validate", *playbooks.SHIPPED)
    assert (result.exit_code, "warning" in result.output) == (0, False), result.output


def test_a_stage_can_be_reached_by_a_timeout_transition() -> None:
    track = Track("t", "a", (Transition(("b",), "c", ORDERED),), (TimeoutTransition(("a",), "b", ENTERED_AT, DAY),))
    assert unreachable(track) == []
    assert unreachable(Track("t", "a", (Transition(("b",), "c", ORDERED),))) == ["c", "b"]
