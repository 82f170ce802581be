"""A worker starts with a playbook that its group knows, or with a higher version of it."""

from __future__ import annotations

import pytest

from streams import playbooks
from streams.core.model.sources import StoredProgress
from streams.shell.commit.agreement import playbook_fingerprint
from streams.shell.commit.metadata import CommitMarker, decode_marker, encode
from streams.shell.commit.playbook_history import (
    PlaybookId,
    migrates,
    of_commits,
    parse_fingerprint,
    playbook_id,
    refusal,
)

OURS = PlaybookId("shop", 3, "aaaa")
LOWER = PlaybookId("shop", 2, "bbbb")
HIGHER = PlaybookId("shop", 4, "cccc")
EDITED = PlaybookId("shop", 3, "dddd")
OTHER = PlaybookId("ecommerce", 1, "eeee")


def test_fingerprint_of_a_commit_names_the_playbook() -> None:
    playbook = playbooks.load()
    for fingerprint in (playbook_fingerprint(playbook), playbook_fingerprint(playbook, True, True)):
        assert parse_fingerprint(fingerprint) == playbook_id(playbook)
    assert parse_fingerprint("") is None
    assert of_commits(["shop/3/aaaa", "", "shop/2/bbbb", "shop/3/aaaa in event time order"]) == [LOWER, OURS]


def test_commit_marker_names_the_playbook_for_brokers_without_metadata() -> None:
    marker = CommitMarker(3, 1, {0: StoredProgress()}, playbook="shop/3/aaaa")
    assert decode_marker(encode(marker)) == marker


@pytest.mark.parametrize("committed", [[], [OURS], [LOWER], [LOWER, OURS]])
def test_same_playbook_or_a_higher_version_may_start(committed: list[PlaybookId]) -> None:
    assert refusal(OURS, committed) is None


@pytest.mark.parametrize(
    ("other", "remedy"),
    [
        (OTHER, "set LIFECYCLE_PLAYBOOK to the playbook of this group"),
        (HIGHER, "set LIFECYCLE_PLAYBOOK to version 4 or a higher one"),
        (EDITED, "its text was changed, so raise its version"),
    ],
)
def test_other_playbook_is_refused_with_its_remedy(other: PlaybookId, remedy: str) -> None:
    reason = refusal(OURS, [LOWER, other, OURS])
    assert reason is not None
    assert remedy in reason
    assert str(other) in reason
    assert str(OURS) in reason
    assert "--accept-playbook" in reason


def test_customers_migrate_while_any_commit_names_another_playbook() -> None:
    assert migrates(OURS, [LOWER, OURS])
    assert not migrates(OURS, [OURS])
    assert not migrates(OURS, [])
    assert not migrates(PlaybookId("default", 0, ""), [OURS]), "a playbook without a text"
