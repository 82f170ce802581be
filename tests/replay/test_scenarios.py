"""`lifecycle test`: scenarios that pass and fail, its output, and invalid files."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from streams import playbooks
from streams.cli import main
from streams.errors import UserError
from streams.playbooks.transition_rows import rows_of
from streams.playbooks.yaml_tree import MOST_CHARACTERS, MOST_NODES
from streams.replay import scenario_command, scenario_file, scenario_run
from streams.replay.scenario_command import SHIPPED
from streams.replay.scenario_run import Document, Scenario, differences, run
from streams.settings import Settings
from tests.support.default_playbook import default_playbook
from tests.support.documentation import ROOT, fences

PAGE = ROOT / "docs" / "scenarios.md"
STEPS = "scenarios:\n  - name: a\n    steps:\n      - "
CART = "{type: product_added, product_id: lamp, price: 79}"


def write(tmp_path: Path, *steps: str, only: str = "abandonments", name: str = "a.scenarios.yaml") -> Path:
    path = tmp_path / name
    lines = [f"      - {step}" for step in steps]
    head = ["scenarios:", "  - name: a story", f"    only: {only}", "    steps:"]
    path.write_text("\n".join([*head, *lines]) + "\n")
    return path


def lifecycle_test(*paths: Path) -> Result:
    return CliRunner().invoke(main, ["test", *map(str, paths)])


def load_one(path: Path) -> Scenario:
    [found] = scenario_file.load(path).scenarios
    return found


# ------------------------------------------------------------------------------------------------ shipped scenarios


def test_the_shipped_scenarios_pass() -> None:
    result = lifecycle_test()
    assert result.exit_code == 0, result.output
    assert "ok    a cart is abandoned after an hour" in result.output


def test_every_row_of_the_shipped_playbooks_has_a_scenario(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are identified by the stages left and entered in the outputs."""
    outputs: list[Document] = []
    keep = scenario_run._ScenarioRun._keep

    def note(play: scenario_run._ScenarioRun, output: Document) -> None:
        outputs.append(output)
        keep(play, output)

    monkeypatch.setattr(scenario_run._ScenarioRun, "_keep", note)
    find = scenario_command.playbook_of(Settings())
    for path in scenario_file.find([SHIPPED]):
        file = scenario_file.load(path)
        for scenario in file.scenarios:
            assert run(scenario, find(file), Settings()) is None
    moves = {(output.get("track"), output.get("from_stage"), output.get("to_stage")) for output in outputs}
    for name in playbooks.SHIPPED:
        for track in playbooks.load(name).tracks:
            for row in rows_of(track):
                assert any((track.name, source, row.target) in moves for source in row.sources), (name, track.name, row)
    kinds = {f"{output['type']} {output.get('kind')} {output.get('reason')}" for output in outputs}
    for kind in ("abandoned browse", "abandoned cart", "abandoned checkout", "recovered cart", "expired cart"):
        assert any(found.startswith(kind) for found in kinds), kind
    assert {"retracted cart late_order", "retracted cart late_activity"} <= kinds


def test_scenario_examples_of_the_page_give_the_output_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [example] = [fence.text for fence in fences(PAGE) if fence.language == "yaml"]
    path = tmp_path / "page.scenarios.yaml"
    path.write_text(example)
    assert lifecycle_test(path).exit_code == 0
    shown = next(fence.text for fence in fences(PAGE) if fence.text.startswith("$ lifecycle test"))
    failing = [
        "scenarios:", "  - name: a cart is abandoned twice", "    only: abandonments", "    steps:",
        f"      - {CART}", "      - {wait: 2d}", "      - expect:", "          - {abandoned: cart, at: 30m}",
        "          - {abandoned: cart, step: 2}", "          - {recovered: cart}",
    ]  # fmt: skip
    (tmp_path / "failing.scenarios.yaml").write_text("\n".join(failing))
    monkeypatch.chdir(tmp_path)
    result = lifecycle_test(Path("failing.scenarios.yaml"))
    assert result.exit_code == 1
    assert [line for line in result.output.splitlines() if "passed" not in line] == [
        line for line in shown.splitlines()[1:] if "passed" not in line
    ]


# -------------------------------------------------------------------------------------------------- failures


@pytest.mark.parametrize(
    ("steps", "sentence"),
    [
        (
            [CART, "{wait: 1h}", "expect: []"],
            "+ came, not expected   abandoned: cart, step: 1, customer_id: c-1, at: 1h",
        ),
        ([CART, "{wait: 59m}", "expect: [{abandoned: cart}]"], "- expected, not come   abandoned: cart"),
        ([CART, "{wait: 1h}", "expect: [{abandoned: cart, step: 2}]"], "step: 1, not 2"),
        ([CART, "{wait: 1h}", "expect: [{abandoned: cart, value: 79}]"], 'value: "79.00", not 79'),
        ([CART, "{wait: 1h}", "expect: [{abandoned: cart, stepp: 1}]"], "stepp: there is no such field"),
        ([CART, "{wait: 1h}", "expect: [{abandoned: cart, identified: 1}]"], "identified: true, not 1"),
        ([CART, "{wait: 1h}", "expect: [{abandoned: cart, items: []}]"], "items: [{"),
        ([CART, "{wait: 1h}", 'expect: [{abandoned: cart, items: [{price: "7.00"}]}]'], 'price: "79.00", not "7.00"'),
        (["{type: order_completed}", "expect: []"], "rejected: invalid_field"),
    ],
)
def test_scenario_that_differs_fails_with_the_difference(tmp_path: Path, steps: list[str], sentence: str) -> None:
    result = lifecycle_test(write(tmp_path, *steps))
    assert result.exit_code == 1
    assert sentence in result.output
    assert "0 passed, 1 failed" in result.output


def test_order_of_expected_outputs_matters(tmp_path: Path) -> None:
    steps = [CART, "{wait: 2d}", "expect: [{abandoned: cart, step: 2}, {abandoned: cart, step: 1}]"]
    assert run(load_one(write(tmp_path, *steps)), default_playbook(), Settings()) is not None


def test_events_after_a_rejected_one_are_applied(tmp_path: Path) -> None:
    steps = [
        "{type: order_completed}",
        "expect: [{rejected: invalid_field}]",
        CART,
        "{wait: 1h}",
        "expect: [{abandoned: cart}]",
    ]
    assert run(load_one(write(tmp_path, *steps)), default_playbook(), Settings()) is None


def test_event_ahead_of_the_clock_is_rejected(tmp_path: Path) -> None:
    steps = ["{type: page_viewed, occurred_at: 2026-01-01T00:06:00Z}", "expect: [{rejected: clock_skew}]"]
    assert run(load_one(write(tmp_path, *steps)), default_playbook(), Settings()) is None


def test_outputs_during_a_wait_come_in_order_of_time(tmp_path: Path) -> None:
    steps = [
        "{type: product_added, customer_id: b, product_id: p}",
        "{type: product_added, customer_id: a, product_id: p, after: 1m}",
        "{wait: 2d}",
        "expect: ["
        + ", ".join(f"{{abandoned: cart, step: {step}, customer_id: {id_}}}" for step in (1, 2) for id_ in "ba")
        + "]",
    ]
    assert run(load_one(write(tmp_path, *steps)), default_playbook(), Settings()) is None


def test_numbers_and_booleans_are_compared_by_value_and_type() -> None:
    assert differences({"a": 1}, {"a": 1.0, "b": 2}) == []
    assert differences({"a": True}, {"a": 1}) == ["a: 1, not true"]
    assert differences({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}) == ["a.b[1]: 3, not 2"]


# ------------------------------------------------------------------------------------------------ files with mistakes


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "1: a file of scenarios is a mapping"),
        ("# nothing yet\n", "1: a file of scenarios is a mapping"),
        ("scenarios: []", "1: scenarios is a list of at least one"),
        ("scenario: []", "1: a file of scenarios has no scenario: did you mean scenarios?"),
        ("scenarios:\n  - steps: []", "2: a scenario has a name"),
        ("scenarios:\n  - {name: a, steps: [{wait: 1h}]}", "2: the last step of a scenario is an expectation"),
        ("scenarios:\n  - name: a\n    steps:\n      - {wait: 1}\n      - expect: []", "4: wait: 1 is not a duration"),
        (f"{STEPS}{{wiat: 1h}}\n      - expect: []", "4: a step has one of"),
        (f"{STEPS}{{wait: 1h, type: x}}\n      - expect: []", "4: a step has one of"),
        (STEPS + "expect: [{stage: x, abandoned: y}]", "4: an expected output has one"),
        ("scenarios:\n  - name: a\n    steps:\n      - expect: [{stage: x, at: soon}]", "4: at: soon is not a time"),
        ("scenarios:\n  - name: a\n    name: b", "is already defined in line 2"),
        ("scenarios: &a [*a]", "1: anchors and aliases"),
        ("scenarios: !!python/object:os.system [x]", "1: tags (!) are not allowed"),
        ("scenarios: [", "this is not YAML"),
        ("scenarios:\n---\n", "2: a file of scenarios is one document"),
        ("a: [" + "b, " * MOST_NODES, "1: a file of scenarios has at most 20,000 values"),
        ("#" * (MOST_CHARACTERS + 1), "1: a file of scenarios has at most 262,144 characters"),
        ("a: \x00", "1: this character is not allowed"),
        ("[" * 100_000, "1: this is nested more than 20 deep"),
    ],
)  # fmt: skip
def test_mistake_in_a_scenario_is_reported_with_its_line(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "a.scenarios.yaml"
    path.write_text(text)
    result = lifecycle_test(path)
    assert result.exit_code == 2
    assert result.output.startswith(f"lifecycle: {path}:")
    assert sentence in result.output
    assert result.output.count("\n") == 1


def test_unknown_word_of_only_is_a_mistake(tmp_path: Path) -> None:
    result = lifecycle_test(write(tmp_path, CART, "expect: []", only="abandonment"))
    assert (result.exit_code, "did you mean abandonments?" in result.output) == (2, True)


def test_scenario_time_is_bounded_and_never_goes_back(tmp_path: Path) -> None:
    path = write(tmp_path, *["{wait: 999999d}"] * 3, "expect: []")
    assert "no scenario goes on after" in lifecycle_test(path).output
    path = write(tmp_path, "{until: 2025-01-01T00:00:00Z}", "expect: []")
    assert "it is 2026-01-01T00:00:00.000Z already" in lifecycle_test(path).output


def test_a_directory_holds_scenarios_or_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no scenarios"):
        scenario_file.find([tmp_path])
    inside = tmp_path / "deep" / "er"
    inside.mkdir(parents=True)
    path = write(inside, CART, "expect: []")
    assert scenario_file.find([tmp_path, path]) == [path]
    console = Console(file=io.StringIO())
    assert scenario_command.run_all([tmp_path], Settings(), lambda file: default_playbook(), console) == 0


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_scenarios_are_read_in_the_encodings_of_editors(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path, "{type: product_added, product_id: Müsli, price: 79}", "expect: []")
    path.write_text(path.read_text(), encoding)
    assert "Müsli" in str(load_one(path).steps)


def test_scenarios_in_another_encoding_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.scenarios.yaml"
    path.write_bytes(b"scenarios: \xff\xfe\xfd")
    result = lifecycle_test(path)
    assert (result.exit_code, "is not UTF-8 text" in result.output) == (2, True)
