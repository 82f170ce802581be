"""The documentation names only things that exist: files, headings, commands, options, settings, metrics."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
from jsonschema import Draft202012Validator

from streams.cli import main
from streams.core.model.event import ORDER_TYPES
from streams.observe.catalogue import CATALOGUE
from streams.settings import CONFIG, FIELDS, PREFIX
from tests.support.documentation import PAGES, ROOT, Fence, anchor, fences, headings, links, name, prose, read, spans

COMMANDS: dict[str, click.Command] = dict(main.commands)
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

every_page = pytest.mark.parametrize("page", PAGES, ids=name)


def broken(page: Path, link: str) -> bool:
    path, _, fragment = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.exists():
        return True
    return bool(fragment) and (target.suffix != ".md" or fragment not in map(anchor, headings(target)))


@every_page
def test_links_have_existing_targets(page: Path) -> None:
    inner = [link for link in links(page) if not re.match(r"\w+://", link)]
    assert [link for link in inner if broken(page, link)] == []


def test_link_without_a_target_is_found() -> None:
    assert broken(ROOT / "README.md", "docs/nothing.md")
    assert broken(ROOT / "README.md", "docs/concepts.md#nothing")
    assert not broken(ROOT / "README.md", "docs/concepts.md#the-lifecycle")


def test_every_page_is_reached_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached:
            reached.add(page)
            targets = [(page.parent / link.partition("#")[0]).resolve() for link in links(page) if "://" not in link]
            waiting += [target for target in targets if target.suffix == ".md"]
    assert set(PAGES) <= reached


# --------------------------------------------------------------------------------------------------------- commands


def code(page: Path) -> list[str]:
    """Return lines of shell and inline code, where commands are."""
    lines = [line for fence in fences(page) if fence.language in {"sh", ""} for line in fence.text.splitlines()]
    return lines + spans(page)


def mistakes(line: str) -> list[str]:
    """Return the commands and options of a line that `lifecycle` or `make` do not have."""
    found = []
    for command, rest in re.findall(r"(?:^|[ $/])lifecycle ([a-z]+)\b([^|;&>`]*)", line):
        if command not in COMMANDS:
            found.append(f"lifecycle {command}")
            continue
        options = {option for param in COMMANDS[command].params for option in param.opts}
        found += [f"{command} {option}" for option in re.findall(r"--[a-z-]+", rest) if option not in options]
    for target in re.findall(r"^(?:\$ )?make ([a-z-]+)", line.strip()):
        if target not in TARGETS:
            found.append(f"make {target}")
    return found


@every_page
def test_documented_commands_exist_with_their_options(page: Path) -> None:
    assert [mistake for line in code(page) for mistake in mistakes(line)] == []


def test_command_that_does_not_exist_is_found() -> None:
    assert mistakes(".venv/bin/lifecycle wroker") == ["lifecycle wroker"]
    assert mistakes("lifecycle replay --clicks x --out y") == ["replay --clicks"]
    assert mistakes("make tset") == ["make tset"]
    assert mistakes("LIFECYCLE_WEB_PORT=0 .venv/bin/lifecycle worker") == []


@every_page
def test_documented_python_files_exist(page: Path) -> None:
    words = [word for line in code(page) for word in line.split()]
    assert [w for w in words if re.fullmatch(r"[\w/.-]+\.py", w) and "/" in w and not (ROOT / w).exists()] == []


@every_page
def test_documented_settings_and_metrics_exist(page: Path) -> None:
    variables = set(re.findall(r"\bLIFECYCLE_[A-Z_]*[A-Z]\b", read(page)))
    assert variables <= {PREFIX + key.upper() for key in FIELDS} | {CONFIG}
    metrics = {span.partition("{")[0] for span in spans(page) if span.startswith("lifecycle_")}
    assert metrics <= {metric.name for metric in CATALOGUE}


# ------------------------------------------------------------------------------------------------------------- JSON

SCHEMAS = {
    path.name.removesuffix(".schema.json"): Draft202012Validator(json.loads(path.read_text()))
    for path in (ROOT / "schemas" / "json").iterdir()
}


def topic_of(event: dict[str, Any]) -> str:
    if event["type"] == "stage_changed":
        return "lifecycle-stage-changes"
    if "abandonment_id" in event:
        return "lifecycle-abandonments"
    return "orders" if event["type"] in ORDER_TYPES else "clickstream"


JSON = [pytest.param(f, id=f"{name(p)}-{n}") for p in PAGES for n, f in enumerate(fences(p)) if f.language == "json"]


@pytest.mark.parametrize("fence", JSON)
def test_documented_events_are_valid_by_their_schema(fence: Fence) -> None:
    event = json.loads(fence.text)
    assert [error.message for error in SCHEMAS[topic_of(event)].iter_errors(event)] == []


def test_the_contract_shows_events_of_both_inputs_and_the_readme_an_output() -> None:
    def shown(page: str) -> set[str]:
        return {topic_of(json.loads(fence.text)) for fence in fences(ROOT / page) if fence.language == "json"}

    assert shown("docs/contract.md") >= {"clickstream", "orders"}
    assert shown("README.md") == {"lifecycle-abandonments"}


# ----------------------------------------------------------------------------------------------------------- README


def test_the_first_screen_of_the_readme_has_the_two_commands_and_what_they_need() -> None:
    first = "\n".join(read(ROOT / "README.md").splitlines()[:40])
    for needed in ("make demo", "make test", "Python 3.11", "make and gcc", '"type": "abandoned"'):
        assert needed in first


def test_readme_lists_missing_features() -> None:
    missing = prose(ROOT / "README.md").partition("## Not yet")[2].partition("##")[0]
    for what in ("Other input formats", "never run"):
        assert what in missing


def test_decisions_are_short_and_listed() -> None:
    records = sorted((ROOT / "docs" / "adr").glob("*.md"))
    index = (ROOT / "docs" / "README.md").read_text()
    for record in records:
        text = record.read_text()
        title = text.splitlines()[0].removeprefix("# ")
        assert title.startswith(record.name[:4])
        assert f"- [{title}](adr/{record.name})" in index
        parts = re.findall(r"^\*\*(\w+)\.\*\*", text, re.MULTILINE)
        assert parts == ["Context", "Decision", "Consequences"], record.name
        assert len(text.splitlines()) <= 30, record.name


@every_page
def test_shell_blocks_are_valid_shell(page: Path) -> None:
    for fence in fences(page):
        if fence.language == "sh":
            shlex.split(fence.text)
