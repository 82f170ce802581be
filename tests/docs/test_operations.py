"""docs/operations.md against what can happen: every alert, every reason of a dead letter, every end of a worker."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from streams.contracts.rejected import REASONS
from tests.docs.pages import ROOT, anchor, headings, section, table

OPERATIONS = ROOT / "docs" / "operations.md"
GROUPS = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())["groups"]
RULES: list[dict[str, Any]] = [rule for group in GROUPS for rule in group["rules"]]


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
def test_an_alert_has_its_section_and_leads_to_it(rule: dict[str, Any]) -> None:
    path, _, fragment = rule["annotations"]["runbook"].partition("#")
    assert ROOT / path == OPERATIONS
    assert fragment == anchor(rule["alert"])
    parts = re.findall(r"^\*\*(.+?):\*\*", section(OPERATIONS, rule["alert"]), re.MULTILINE)
    assert parts == ["Means", "Look at", "Do"]


def test_no_section_is_about_an_alert_that_is_gone() -> None:
    assert [h for h in headings(OPERATIONS) if h.startswith("Lifecycle")] == [rule["alert"] for rule in RULES]


def test_every_reason_of_a_dead_letter_has_its_remedy() -> None:
    rows = table(section(OPERATIONS, "Dead letters"), "reason", "usual cause", "remedy")
    assert [reason.strip("`") for reason, _, _ in rows] == list(REASONS)
    assert all(cause and remedy for _, cause, remedy in rows)


def test_what_a_worker_is_said_to_say_is_what_it_says() -> None:
    source = "".join(path.read_text() for path in sorted((ROOT / "streams").rglob("*.py")))
    source = re.sub(r'"\s*\n\s*f?"', "", source)  # texts that go over several lines
    source = re.sub(r"\{[^{}]*\}", "…", source.replace("{PREFIX}", "LIFECYCLE_"))
    rows = table(section(OPERATIONS, "When a worker ends"), "it says", "because", "do")
    assert len(rows) >= 10
    for said, _, _ in rows:
        pieces = re.split(r"…|\b[NMT]\b", said.strip("`"))
        pattern = ".{0,60}?".join(re.escape(piece.strip()) for piece in pieces if piece.strip(" ()"))
        assert re.search(pattern, source), said
