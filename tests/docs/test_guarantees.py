"""The tests and programs that docs/guarantees.md names exist. docs/chaos.md has the figures of the latest verdicts."""

from __future__ import annotations

import ast
import re

import pytest

from tests.chaos.catalogue import PROGRAMS
from tests.chaos.programs import MODES
from tests.chaos.table import read as verdicts
from tests.chaos.verdict import COUNTED
from tests.docs.chaos_report import PAGE as CHAOS_PAGE
from tests.docs.chaos_report import VERDICTS, with_figures
from tests.support.documentation import ROOT, read, section, table

PAGE = ROOT / "docs" / "guarantees.md"


def promises() -> list[list[str]]:
    return [row for part in ("In both modes", "With `exactly_once`") for row in table(section(PAGE, part), *COLUMNS)]


COLUMNS = ("promise", "shown by")


def lacking(proof: str) -> bool:
    """Return True if a test or a chaos program does not exist, or would never be run."""
    if name := re.fullmatch(r"chaos:(\w+)", proof):
        return name[1] not in PROGRAMS
    path, _, test = proof.partition("::")
    file = ROOT / path
    if not (re.fullmatch(r"tests/[\w/]*test_\w+\.py", path) and test.startswith("test_") and file.exists()):
        return True
    tree = ast.parse(file.read_text())
    return test not in {n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("promise", promises(), ids=lambda row: row[0].strip("*…. ")[:40])
def test_every_promise_cites_existing_tests(promise: list[str]) -> None:
    proofs = re.findall(r"`([^`]+)`", promise[1])
    assert re.sub(r"`[^`]+`", "", promise[1]).strip() == ""
    assert any(proof.startswith("tests/") for proof in proofs)
    assert [proof for proof in proofs if lacking(proof)] == []


def test_missing_proof_is_found() -> None:
    assert len(promises()) > 15
    assert lacking("tests/docs/test_guarantees.py::test_nothing")
    assert lacking("tests/docs/test_nothing.py::test_missing_proof_is_found")
    assert lacking("tests/docs/test_guarantees.py::promises")
    assert lacking("chaos:nothing")
    assert not lacking("tests/docs/test_guarantees.py::test_missing_proof_is_found")


def test_chaos_page_shows_the_recorded_figures() -> None:
    assert read(CHAOS_PAGE) == with_figures(read(CHAOS_PAGE)), "run: make docs"


def test_every_figure_has_its_date_commit_and_length_of_run() -> None:
    kept = verdicts(VERDICTS)
    assert kept
    for verdict in kept:
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", verdict.date), verdict.program
        assert re.fullmatch(r"[0-9a-f]{7,}", verdict.commit), f"{verdict.program}: of what is not committed"
        assert verdict.amounts.keys() == PROGRAMS[verdict.program].long.keys()


def test_profile_fields_compared_out_of_order_are_documented() -> None:
    assert [name for name in COUNTED if f"`{name}`" not in read(CHAOS_PAGE)] == []


NOT_KEPT_YET: set[tuple[str, str]] = set()
"""Programs that are cited without figures yet, which the page mentions."""


def test_cited_chaos_program_has_figures_and_passed() -> None:
    kept = {(verdict.program, verdict.mode): verdict.ok for verdict in verdicts(VERDICTS)}
    cited = {
        (name, mode)
        for part, modes in (("In both modes", MODES), ("With `exactly_once`", ("exactly_once",)))
        for _, proofs in table(section(PAGE, part), *COLUMNS)
        for name in re.findall(r"`chaos:(\w+)`", proofs)
        for mode in modes
        if mode in PROGRAMS[name].modes
    }
    assert len(cited) > 30
    assert cited - kept.keys() == NOT_KEPT_YET, "run it (make chaos), and put its line into docs/chaos.jsonl"
    assert [which for which, well in kept.items() if not well] == []
    assert [name for name, _ in NOT_KEPT_YET if f"`{name}`" not in read(CHAOS_PAGE)] == []
