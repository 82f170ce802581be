"""Workers of a group that run different playbooks are noticed by their commits."""

from __future__ import annotations

import logging

import pytest

from streams import playbooks
from streams.core.model.sources import StoredProgress
from streams.shell.commit.agreement import PlaybookAgreement, playbook_fingerprint
from streams.shell.commit.metadata import OffsetMetadata, decode_metadata, encode
from tests.support.default_playbook import default_playbook

OURS = playbooks.load()
OTHER = playbooks.load("ecommerce-full")


def test_commit_records_its_playbook() -> None:
    mark = OffsetMetadata(3, 1, StoredProgress(), playbook=playbook_fingerprint(OURS))
    assert decode_metadata(encode(mark).decode()) == mark
    assert playbook_fingerprint(OURS) == f"ecommerce/1/{OURS.digest}" != playbook_fingerprint(OTHER)
    assert decode_metadata(encode(OffsetMetadata(3, 1, StoredProgress())).decode()) == OffsetMetadata(
        3, 1, StoredProgress()
    )  # of an older worker


def test_disagreeing_playbooks_are_warned_of_once_and_their_agreement_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "streams.shell.commit.agreement")
    agreement = PlaybookAgreement(OURS)
    ours, other = playbook_fingerprint(OURS), playbook_fingerprint(OTHER)
    agreement.observe([(0, ours), (1, ours), (2, "")])
    assert (agreement.partitions_of_others, caplog.records) == (0, [])
    for _ in range(2):
        agreement.observe([(0, ours), (1, other), (1, other), (2, other)])
    assert agreement.partitions_of_others == 2
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert ours in record.getMessage()
    assert other in record.getMessage()
    agreement.observe([(0, ours), (1, ours), (2, ours)])
    assert agreement.partitions_of_others == 0
    assert caplog.records[-1].levelname == "INFO"


def test_workers_with_and_without_identity_resolution_disagree() -> None:
    agreement = PlaybookAgreement(OURS, identity_resolution=True)
    agreement.observe([(0, playbook_fingerprint(OURS, identity_resolution=True)), (1, playbook_fingerprint(OURS))])
    assert agreement.partitions_of_others == 1


def test_playbook_without_a_text_disagrees_with_none() -> None:
    agreement = PlaybookAgreement(default_playbook())
    agreement.observe([(0, playbook_fingerprint(OURS))])
    assert agreement.partitions_of_others == 0
