"""docs/guarantees.md: what it names as proof is there, and its figures are those that are kept."""

from __future__ import annotations

import ast
import re

import pytest

from tests.chaos.catalogue import PROGRAMS
from tests.docs.guarantees import PAGE, with_figures
from tests.docs.pages import ROOT, read, section, table


def promises() -> list[list[str]]:
    return [row for part in ("In both modes", "With `exactly_once`") for row in table(section(PAGE, part), *COLUMNS)]


COLUMNS = ("promise", "shown by")


def lacking(proof: str) -> bool:
    """Whether a test or a chaos program is not there, or would never be run."""
    if name := re.fullmatch(r"chaos:(\w+)", proof):
        return name[1] not in PROGRAMS
    path, _, test = proof.partition("::")
    file = ROOT / path
    if not (re.fullmatch(r"tests/[\w/]*test_\w+\.py", path) and test.startswith("test_") and file.exists()):
        return True
    tree = ast.parse(file.read_text())
    return test not in {n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("promise", promises(), ids=lambda row: row[0].strip("*…. ")[:40])
def test_a_promise_names_what_shows_it(promise: list[str]) -> None:
    proofs = re.findall(r"`([^`]+)`", promise[1])
    assert re.sub(r"`[^`]+`", "", promise[1]).strip() == ""
    assert any(proof.startswith("tests/") for proof in proofs)
    assert [proof for proof in proofs if lacking(proof)] == []


def test_a_proof_that_is_not_there_is_seen() -> None:
    assert len(promises()) > 15
    assert lacking("tests/docs/test_guarantees.py::test_nothing")
    assert lacking("tests/docs/test_nothing.py::test_a_proof_that_is_not_there_is_seen")
    assert lacking("tests/docs/test_guarantees.py::promises")
    assert lacking("chaos:nothing")
    assert not lacking("tests/docs/test_guarantees.py::test_a_proof_that_is_not_there_is_seen")


def test_the_figures_are_those_that_are_kept() -> None:
    assert read(PAGE) == with_figures(read(PAGE)), "run: make docs"
