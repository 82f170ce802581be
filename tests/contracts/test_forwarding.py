"""Records of the activity topic: what a task writes is what another one reads, and nothing else is believed."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from streams.contracts.forwarding import ORIGIN, PROGRESS, Reader, encode_reports, forwarding_header
from streams.contracts.native import Decoder
from streams.core.activity import Source
from streams.core.sources import Forwarded, Report

CLICKS, ORDERS = Source.CLICKSTREAM, Source.ORDERS
NOON = 1_763_719_200_000
EVENT = json.dumps({"type": "page_viewed", "occurred_at": NOON, "customer_id": "c"}).encode()


def reader() -> Reader:
    return Reader({CLICKS: Decoder(CLICKS, "shop.clicks")})


def record(value: bytes | None, *headers: tuple[str, bytes], offset: int = 5) -> Any:
    return SimpleNamespace(offset=offset, timestamp=0, key=b"k", value=value, headers=list(headers))


def test_a_record_is_read_as_where_it_came_from() -> None:
    header = forwarding_header(CLICKS, 3, 41, 17, NOON + 5)
    [(offset, forwarded)], refused = reader().read([record(EVENT, ("ce_id", b"1"), header)])
    here = Decoder(CLICKS, "shop.clicks").decode(EVENT, partition=3, offset=41, timestamp=NOON + 5)
    assert forwarded == Forwarded(CLICKS, 3, 41, 17, [here])
    assert here.event_id == "shop.clicks/3/41"  # the one that it has wherever it is read
    assert (offset, refused) == (5, [])


def test_reports_are_read_as_they_were_written() -> None:
    reports = [Report(CLICKS, 3, 41, NOON, NOON - 7, None), Report(ORDERS, 3, -1, None, None, NOON)]
    news, refused = reader().read([record(encode_reports(reports), (PROGRESS, b""), offset=9)])
    assert news == [(9, report) for report in reports]
    assert refused == []


def test_what_no_task_wrote_is_refused_and_the_rest_is_read() -> None:
    good = forwarding_header(CLICKS, 3, 41, 17, NOON)
    raw = [
        record(EVENT),
        record(EVENT, (ORIGIN, b"nonsense")),
        record(EVENT, (ORIGIN, b"[7,3,41,17,0]")),
        record(b"{}", (PROGRESS, b"")),
        record(EVENT, forwarding_header(ORDERS, 3, 41, 17, NOON)),  # a topic that is declared well keyed here
        record(EVENT, good),
    ]
    news, refused = reader().read(raw)
    assert len(news) == 1
    assert [rejected.reason for _, rejected in refused] == ["invalid_field"] * 4 + ["wrong_partition"]


def test_a_forwarded_record_that_cannot_be_read_here_is_refused_and_leaves_no_gap() -> None:
    [(_, forwarded)], refused = reader().read([record(b"}", forwarding_header(CLICKS, 3, 41, 17, NOON))])
    assert forwarded == Forwarded(CLICKS, 3, 41, 17, [])
    assert [rejected.reason for _, rejected in refused] == ["not_json"]
