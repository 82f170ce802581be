"""docs/operations.md covers every alert, every reason of a dead letter, and every way in which a worker ends."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from faust.types import TP

from streams.contracts.rejected import REASONS
from streams.shell.faults import Defect, NoOffset, OutOfRange, RecordsMissing, StateBehind, TopicRecreated, Truncated
from tests.support.documentation import ROOT, anchor, headings, section, table

OPERATIONS = ROOT / "docs" / "operations.md"
GROUPS = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())["groups"]
RULES: list[dict[str, Any]] = [rule for group in GROUPS for rule in group["rules"]]


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
def test_every_alert_has_a_section_and_links_to_it(rule: dict[str, Any]) -> None:
    path, _, fragment = rule["annotations"]["runbook"].partition("#")
    assert ROOT / path == OPERATIONS
    assert fragment == anchor(rule["alert"])
    parts = re.findall(r"^\*\*(.+?):\*\*", section(OPERATIONS, rule["alert"]), re.MULTILINE)
    assert parts == ["Means", "Look at", "Do"]


def test_every_alert_section_is_about_an_existing_alert() -> None:
    assert [h for h in headings(OPERATIONS) if h.startswith("Lifecycle")] == [rule["alert"] for rule in RULES]


def test_every_reason_of_a_dead_letter_has_its_remedy() -> None:
    rows = table(section(OPERATIONS, "Dead letters"), "reason", "usual cause", "remedy")
    assert [reason.strip("`") for reason, _, _ in rows] == list(REASONS)
    assert all(cause and remedy for _, cause, remedy in rows)


def test_documented_last_words_of_a_worker_are_in_the_source() -> None:
    source = "".join(path.read_text() for path in sorted((ROOT / "streams").rglob("*.py")))
    source = re.sub(r'"\s*\n\s*f?"', "", source)  # texts that go over several lines
    source = re.sub(r"\{[^{}]*\}", "…", source.replace("{PREFIX}", "LIFECYCLE_"))
    rows = table(section(OPERATIONS, "When a worker ends"), "it says", "because", "do")
    assert len(rows) >= 10
    for said, _, _ in rows:
        pieces = re.split(r"…|\b[NMT]\b", said.strip("`"))
        pattern = ".{0,60}?".join(re.escape(piece.strip()) for piece in pieces if piece.strip(" ()"))
        assert re.search(pattern, source), said


@pytest.mark.parametrize(
    "fault",
    [
        OutOfRange(TP("orders", 0), 7),
        NoOffset(TP("orders", 0)),
        Truncated("orders", 0, 9, 7),
        RecordsMissing("orders", 0, 7, 9),
        StateBehind("changelog", 0, 9, 7),
        TopicRecreated("orders"),
        Defect(KeyError(), {TP("orders", 0): 9}),
    ],
    ids=lambda fault: type(fault).__name__,
)
def test_every_fault_of_the_topics_has_its_remedy(fault: Exception) -> None:
    rows = table(section(OPERATIONS, "When a worker ends"), "it says", "because", "do")
    patterns = [".*".join(map(re.escape, re.split(r"…|\b[NM]\b", said.strip("`")))) for said, _, _ in rows]
    assert sum(re.search(pattern, str(fault)) is not None for pattern in patterns) == 1
    assert "LIFECYCLE_APP_ID" in str(fault) or "--reset-offsets" in str(fault)
