"""docs/rules.md covers the whole language, and its examples are right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from streams.core.model.policy import DAY, HOUR, MINUTE
from streams.core.rules import Type, Vocabulary, compile_rule
from streams.core.rules.functions import FUNCTIONS
from streams.core.rules.lexer import MAX_LENGTH
from streams.core.rules.parser import MAX_DEPTH, MAX_PARTS
from streams.core.rules.requirements import MOST_BUCKETS, bucket_width
from streams.core.rules.vocabulary import WORDS
from tests.support.default_playbook import default_playbook

PAGE = (Path(__file__).parents[2] / "docs" / "rules.md").read_text()
VOCABULARY = Vocabulary(
    tracks={"lifecycle": default_playbook().tracks[0].stages}, event_types=["credit_granted"], of_trigger=True
)  # fmt: skip
SHORT = {"yes or no": Type.BOOL, "number": Type.NUMBER, "amount": Type.MONEY, "duration": Type.DURATION,
         "time": Type.TIME, "text": Type.TEXT}  # fmt: skip


def rows(title: str) -> list[list[str]]:
    part = re.search(rf"^## {title}\n(.*?)(?=^##|\Z)", PAGE, re.DOTALL | re.MULTILINE)
    assert part
    lines = [line for line in part[1].splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


NAMES, CALLS = rows("Names"), rows("Functions")
EXAMPLES = [row[3].strip("` ") for row in NAMES + CALLS]
BLOCKS = [line for block in re.findall(r"```rule\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]


def test_every_name_of_a_rule_is_documented_with_its_type() -> None:
    assert {row[0].strip("`"): SHORT[row[1]] for row in NAMES} == {name: word.type for name, word in WORDS.items()}


def test_every_function_of_a_rule_is_documented() -> None:
    assert {name for row in CALLS for name in re.findall(r"`([a-z_]+)\(", row[0])} == set(FUNCTIONS)


@pytest.mark.parametrize("text", EXAMPLES + BLOCKS)
def test_every_documented_example_is_a_valid_rule(text: str) -> None:
    compile_rule(text, VOCABULARY)


def test_every_example_uses_the_name_of_its_row() -> None:
    for row in NAMES + CALLS:
        names = re.findall(r"`([a-z_.]+)", row[0])
        assert any(name in row[3] for name in names), row


def test_documented_bounds_of_rules_are_those_of_the_code() -> None:
    assert f"{MAX_LENGTH:,} characters, {MAX_PARTS} parts and {MAX_DEPTH}\nlevels" in PAGE
    assert f"at most {MOST_BUCKETS + 1} buckets" in PAGE


def test_documented_buckets_of_aggregates_are_those_of_the_code() -> None:
    units = {"s": 1000, "min": MINUTE, "h": HOUR, "d": DAY}
    part = PAGE.partition("| window up to | bucket |\n|---|---|\n")[2].partition("\n\n")[0]
    shown = [
        [re.fullmatch(r" ?(\d+) (\w+) ?", cell) for cell in line.strip("|").split("|")] for line in part.split("\n")
    ]
    assert len(shown) == 7
    for window, bucket in shown:
        assert window
        assert bucket
        assert bucket_width(int(window[1]) * units[window[2]]) == int(bucket[1]) * units[bucket[2]]
