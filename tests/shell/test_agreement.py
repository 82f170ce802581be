"""Workers of a group that run different playbooks are noticed by their commits."""

from __future__ import annotations

import logging

import pytest

from streams import playbooks
from streams.core.lifecycle.playbook import Playbook
from streams.core.model.sources import Mark
from streams.shell.commit.agreement import Agreement, mark_of
from streams.shell.commit.metadata import SourceMark, decode_metadata, encode

OURS = playbooks.load()
OTHER = playbooks.load("ecommerce-full")


def test_commit_records_its_playbook() -> None:
    mark = SourceMark(3, 1, Mark(), playbook=mark_of(OURS))
    assert decode_metadata(encode(mark).decode()) == mark
    assert mark_of(OURS) == f"ecommerce/1/{OURS.digest}" != mark_of(OTHER)
    assert decode_metadata(encode(SourceMark(3, 1, Mark())).decode()) == SourceMark(3, 1, Mark())  # of an older worker


def test_disagreeing_playbooks_are_warned_of_once_and_their_agreement_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "streams.shell.commit.agreement")
    agreement = Agreement(OURS)
    ours, other = mark_of(OURS), mark_of(OTHER)
    agreement.saw([(0, ours), (1, ours), (2, "")])
    assert (agreement.partitions_of_others, caplog.records) == (0, [])
    for _ in range(2):
        agreement.saw([(0, ours), (1, other), (1, other), (2, other)])
    assert agreement.partitions_of_others == 2
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert ours in record.getMessage()
    assert other in record.getMessage()
    agreement.saw([(0, ours), (1, ours), (2, ours)])
    assert agreement.partitions_of_others == 0
    assert caplog.records[-1].levelname == "INFO"


def test_workers_with_and_without_identity_resolution_disagree() -> None:
    agreement = Agreement(OURS, linking=True)
    agreement.saw([(0, mark_of(OURS, linking=True)), (1, mark_of(OURS))])
    assert agreement.partitions_of_others == 1


def test_playbook_without_a_text_disagrees_with_none() -> None:
    agreement = Agreement(Playbook())
    agreement.saw([(0, mark_of(OURS))])
    assert agreement.partitions_of_others == 0
