"""docs/playbook.md and docs/playbook-keys.md: examples run, and every key is documented. Also the schema."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from streams import playbooks
from streams.cli import main
from streams.playbooks import PlaybookError, docs, parse
from streams.playbooks.format import PLAYBOOK
from streams.playbooks.key_kinds import KeyKind, ListOf, OneOrMore, OrOff, Section, TableOf
from streams.playbooks.schema import schema
from streams.playbooks.triggers import COMPUTED, DataValue, EventsOr
from tests.support.documentation import ROOT, fences

PAGE = ROOT / "docs" / "playbook.md"
YAML = [fence.text for fence in fences(PAGE) if fence.language == "yaml"]
SHIPPED = sorted(Path(playbooks.__file__).parent.glob("*.yaml"))


def test_playbook_page_and_schema_agree_with_the_table() -> None:
    assert (ROOT / "docs" / "playbook-keys.md").read_text() == docs.reference(), "run `make docs`"
    assert json.loads((ROOT / "schemas" / "playbook.schema.json").read_text()) == schema(), "run `make docs`"


def sections(kind: KeyKind) -> set[int]:
    """Return all sections within."""
    if isinstance(kind, Section):
        return {id(kind)}.union(*(sections(key.kind) for key in kind.keys.values()))
    if isinstance(kind, EventsOr):
        return sections(kind.section)
    if isinstance(kind, DataValue):
        return sections(COMPUTED)
    return sections(kind.kind) if isinstance(kind, ListOf | OneOrMore | OrOff | TableOf) else set()


def test_every_playbook_key_is_documented() -> None:
    assert sections(PLAYBOOK) == {id(section) for section in docs.SECTIONS.values()}
    page = docs.reference()
    for section in docs.SECTIONS.values():
        for key in section.keys.values():
            assert f"| `{key.name}` | {key.help}" in page
            assert len(key.help.split()) >= 3


def test_playbook_tutorial_gives_the_output_shown(tmp_path: Path) -> None:
    playbook, scenarios = YAML[:2]
    (tmp_path / "my-shop.yaml").write_text(playbook)
    (tmp_path / "my-shop.scenarios.yaml").write_text(scenarios)
    result = CliRunner().invoke(main, ["test", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "2 passed" in result.output


def test_documented_mistake_is_the_error_of_the_loader() -> None:
    text = YAML[0].replace("when: orders >= 1", "when: ordres >= 1").replace("[buyer, fan]", "[buyer, fann]")
    with pytest.raises(PlaybookError) as raised:
        parse(text, "my-shop.yaml")
    [shown] = [fence.text for fence in fences(PAGE) if "did you mean" in fence.text]
    assert shown.strip() == str(raised.value)


# ------------------------------------------------------------------------------------- the schema against the loader


class Plain(yaml.SafeLoader):
    """YAML 1.2 as editors read it, without `on`, `off` and sexagesimals."""


Plain.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in ("tag:yaml.org,2002:timestamp",)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    if first not in "oOyYnN"
}
VALIDATOR = Draft202012Validator(schema())


def test_playbook_schema_is_a_valid_json_schema() -> None:
    Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_playbooks_are_valid_by_the_schema(path: Path) -> None:
    VALIDATOR.validate(yaml.load(path.read_text(), Plain))
    assert playbooks.load(path.stem).name == path.stem


def broken(document: Any) -> list[Any]:
    """Yield the document with one formal mistake, a different one each time."""
    found = []
    for path in paths(document):
        for change in ("unknown key", "number for it", "list for it"):
            copied = copy.deepcopy(document)
            at = copied
            for step in path[:-1]:
                at = at[step]
            if change == "unknown key":
                if (
                    not isinstance(at[path[-1]], dict)
                    or path[0] in ("renamed", "keep", "properties")
                    or path == ("tracks",)
                ):
                    continue
                at[path[-1]]["no_such_key"] = 1
            else:
                at[path[-1]] = -1.5 if change == "number for it" else [[]]
            found.append((path, change, copied))
    return found


def paths(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items: list[tuple[Any, Any]] = []
    if isinstance(document, dict):
        items = list(document.items())
    elif isinstance(document, list):
        items = list(enumerate(document))
    return [(*path, key) for key, _ in items] + [below for key, value in items for below in paths(value, (*path, key))]


def test_schema_and_loader_refuse_the_same_forms() -> None:
    document = yaml.load(YAML[0], Plain) | {"renamed": {}, "properties": {"score": "number"}, "keep": {"score": {}}}
    parse(yaml.safe_dump(document, sort_keys=False))
    refused = 0
    for path, change, wrong in broken(document):
        if path[-1] in ("when", "since"):
            continue  # a rule is a text to the schema
        text = yaml.safe_dump(wrong, sort_keys=False)
        by_schema = not VALIDATOR.is_valid(yaml.load(text, Plain))
        try:
            parse(text)
        except PlaybookError:
            by_loader = True
        else:
            by_loader = False
        assert by_schema is by_loader, (path, change)
        refused += by_schema
    assert refused > 50
