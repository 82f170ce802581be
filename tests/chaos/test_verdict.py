"""A verdict finds each kind of mistake in outputs and profiles that have it."""

from __future__ import annotations

import copy
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streams.contracts import times
from streams.core.model.event import Source
from streams.core.profile.codec import pack, unpack
from streams.settings import Settings
from tests.chaos import history, verdict
from tests.chaos.__main__ import commit
from tests.chaos.inputs import behind
from tests.chaos.table import read, table
from tests.chaos.verdict import Comparison, Expected, Profiles, Verdict, compare, differing_profiles
from tests.support.shop_events import click

END = 1_790_000_000_000


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Expected:
    events = history.history(1, customers=30, sessions=80, end=END)
    return verdict.expected(Settings(), events, END, tmp_path_factory.mktemp("expected") / "files")


def test_parts_of_a_history_are_the_whole_history_in_order() -> None:
    events = history.history(1, customers=5, sessions=20, end=END)
    for many in (1, 7, len(events) + 5):
        parts = history.parts(events, many)
        assert [event for part in parts for event in part] == events
        assert len(parts) == many
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def outputs(right: Expected) -> list[dict[str, Any]]:
    return copy.deepcopy(list(right.outputs.values()))


def copies(right: Expected) -> Profiles:
    return {key: unpack(pack(profile)) for key, profile in right.profiles.items()}


def abandoned(documents: list[dict[str, Any]]) -> dict[str, Any]:
    return next(document for document in documents if document["type"] == "abandoned")


def changed(documents: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    return next(d for d in documents if d["type"] == "stage_changed" and d["cause"]["kind"] == kind)


def counts(found: Comparison) -> dict[str, int]:
    return {name: len(value) if isinstance(value, list) else value for name, value in found._asdict().items()}


NONE = dict.fromkeys(Comparison._fields, 0)


def test_right_outputs_and_profiles_pass_the_comparison(right: Expected) -> None:
    assert len(right.outputs) > 100
    assert counts(compare(right.outputs, outputs(right))) == NONE
    assert differing_profiles(right.profiles, copies(right)) == []


def test_generated_history_has_the_cases_that_the_programs_test(right: Expected) -> None:
    kinds = {document["type"] for document in right.outputs.values()}
    assert kinds == {"stage_changed", "abandoned", "recovered"}
    assert history.history(1, customers=30, sessions=80, end=END) == history.history(
        1, customers=30, sessions=80, end=END
    )
    assert history.history(2, customers=30, sessions=80, end=END) != history.history(
        1, customers=30, sessions=80, end=END
    )


def test_lost_repeated_and_altered_outputs_are_counted(right: Expected) -> None:
    documents = outputs(right)
    assert counts(compare(right.outputs, documents[1:])) == NONE | {"missing": 1}
    assert counts(compare(right.outputs, [*documents, *documents[:3]])) == NONE | {"repeated": 3}
    documents[5]["customer_id"] = "somebody"
    assert counts(compare(right.outputs, documents)) == NONE | {"differing": 1}


def test_unexpected_outputs_are_counted_by_kind(right: Expected) -> None:
    documents = outputs(right)
    invented = abandoned(documents) | {"id": "x", "abandonment_id": "x"}
    assert counts(compare(right.outputs, [*documents, invented])) == NONE | {"false_abandonments": 1}
    retraction = invented | {"id": "y", "type": "retracted"}
    assert counts(compare(right.outputs, [*documents, invented, retraction])) == NONE | {"taken_back": 2}
    activity = changed(documents, "activity") | {"id": "z"}
    assert counts(compare(right.outputs, [*documents, activity])) == NONE | {"orphaned": 1}
    silence = activity | {"cause": {"kind": "inactivity"}}
    assert counts(compare(right.outputs, [*documents, silence])) == NONE | {"unexplained": 1}


def test_an_output_that_came_before_it_was_due_is_early(right: Expected) -> None:
    documents = outputs(right)
    due = times.parse(documents[0]["occurred_at"])
    documents[0][verdict.AT] = due
    assert counts(compare(right.outputs, documents)) == NONE
    documents[0][verdict.AT] = due - 1
    assert counts(compare(right.outputs, documents)) == NONE | {"early": 1}


def test_profiles_have_to_be_equal_to_the_last_bit(right: Expected) -> None:
    found = copies(right)
    one, two, three = list(found)[:3]
    found[one].cart.now.lines.clear()
    found[one].product_views += 1
    del found[two]
    found[b"more"] = found[three]
    found[three].commit, found[three].applied = 77, [5, 6]  # these fields depend on the worker, and are not compared
    assert differing_profiles(right.profiles, found) == sorted([one, two, b"more"])


def test_a_changelog_is_read_as_a_worker_reads_it(right: Expected) -> None:
    class Record:
        def __init__(self, key: bytes, value: bytes | None) -> None:
            self.key, self.value = key, value

    key, profile = next(iter(copies(right).items()))
    profile.applied = [10, 10]
    fresh = pack(profile)
    profile.applied, profile.product_views = [3, 3], 99
    of_stale_owner = pack(profile)
    found = verdict.recovered([Record(key, fresh), Record(key, of_stale_owner)])
    assert found[key].product_views != 99


def verdict_of(**counted: Any) -> Verdict:
    none = dict.fromkeys(
        ("events", "outputs", "profiles", "missing", "extra", "orphaned", "taken_back", "false_abandonments",
         "differing", "repeated", "wrong_profiles", "early"), 0
    )  # fmt: skip
    return Verdict(**{"program": "p", "mode": "m", "seed": 1, "harm": {}, **none, **counted})


@pytest.mark.parametrize(
    "what",
    ["missing", "false_abandonments", "differing", "wrong_profiles", "repeated", "orphaned", "early", "failed_stops"],
)
def test_each_forbidden_difference_fails_the_run(what: str) -> None:
    assert verdict_of().ok
    assert not verdict_of(**{what: 1}).ok
    assert verdict_of(**{what: 1}).sentence().startswith("FAIL p")


def test_tolerated_counts_pass_and_unexplained_counts_fail() -> None:
    assert verdict_of(orphaned=1, extra=1, repeated=2, tolerates=("orphaned", "repeated")).ok
    assert not verdict_of(orphaned=1, extra=2, tolerates=("orphaned", "repeated")).ok
    assert not verdict_of(missing=1, tolerates=("missing",)).ok


def test_exceeded_bound_fails_the_run_and_is_printed() -> None:
    for bound, kept, broken, printed in (
        ("limits", (10, 10), (10.1, 10), "s 10.1 of at most 10"),
        ("minima", (2, 2), (1.9, 2), "s 1.9 of at least 2"),
    ):
        assert verdict_of(**{bound: {"s": kept}}).ok
        assert not verdict_of(**{bound: {"s": broken}}).ok
        assert not verdict_of(**{bound: {"r": kept, "s": broken}}).ok
        assert f"; {printed}" in verdict_of(**{bound: {"s": broken}}).sentence()


def test_workers_that_end_by_themselves_are_bounded_by_exit_code() -> None:
    assert verdict_of(limits=verdict.ended({}, {})).ok
    assert verdict_of(limits=verdict.ended({1: 2}, {1: 2})).ok
    assert verdict_of(limits=verdict.ended({}, {1: 2})).ok
    for found in ({1: 3}, {-11: 1}, {0: 1}, {1: 1, -11: 1}):
        assert not verdict_of(limits=verdict.ended(found, {1: 2})).ok
    assert not verdict_of(limits=verdict.ended({1: 1}, {})).ok


def test_frame_has_an_event_on_each_partition_of_each_source() -> None:
    framed = history.frame("opening", END, partitions=4)
    for source in Source:
        assert len([event for event in framed if event.source is source]) == 4


def test_the_table_shows_the_last_verdict_of_each_program_and_mode_and_length(tmp_path: Path) -> None:
    first, last, whole = (
        verdict_of(missing=3, amounts={"kills": 5}),
        verdict_of(
            events=1_234, amounts={"kills": 5}, harm={"kills": 5}, minima={"killed": (5, 5)}, limits={"s": (3.5, 10.0)},
            commit="abc1234", date="2026-11-26",
        ),
        verdict_of(amounts={"kills": 50}),
    )  # fmt: skip
    for each in (first, last, whole):
        each.program, each.mode = "kills", "at_least_once"
    path = tmp_path / "chaos.jsonl"
    path.write_bytes(b"\n".join(msgspec.json.encode(each) for each in (first, whole, last)))
    _, _, *rows = table(read(path)).splitlines()
    assert rows[0] == (
        "| kill -9 of workers at random moments (`kills`) | `at_least_once` | kills 5 of 50; killed: 5 (at least 5); "
        "s: 3.5 (at most 10) | 1,234 | 0 | 0 | 0 | 0 | 0 | 0 | 0 | ok | 2026-11-26 `abc1234` |"
    )
    assert len(rows) == 2
    assert "| kills 50 |" in rows[1]
    assert "| 3 |" in table([first])
    assert "**failed**" in table([first])


def test_lateness_is_measured_against_earlier_arrivals_of_the_same_customer() -> None:
    arriving = [
        history.Event(at, Source.CLICKSTREAM, click(customer, at))
        for customer, at in (("a", END), ("b", END - 5), ("a", END + 2), ("a", END + 1), ("b", END), ("a", END))
    ]
    assert behind(arriving) == [1, 2]


def test_verdict_names_the_commit_and_marks_changed_files(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        who = ["-c", "user.name=n", "-c", "user.email=n@example.com"]
        command = ["git", *who, *arguments]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout.strip()

    assert commit(tmp_path) == ""
    git("init")
    file = tmp_path / "file"
    file.write_text("as it is")
    git("add", "file")
    git("commit", "--message", "first")
    assert commit(tmp_path) == git("rev-parse", "--short", "HEAD")
    file.write_text("changed")
    assert commit(tmp_path) == git("rev-parse", "--short", "HEAD") + "-dirty"
