"""Records of the repartition topic: a task reads the records that another one wrote, and refuses all others."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from streams.contracts.fields import MAX_ITEMS
from streams.contracts.native import Decoder
from streams.contracts.partitioning import Partitioner
from streams.contracts.rejected import Rejected
from streams.contracts.repartition import (
    MESSAGE,
    PARTS,
    PROGRESS,
    UPSTREAM,
    RepartitionDecoder,
    encode_message,
    encode_parts,
    encode_reports,
    forwarding_header,
)
from streams.core.event_time.inputs import FIRST_MESSAGES, message_rank
from streams.core.identity.aliases import event_of_message, parts_of, payload_of
from streams.core.model.event import CLAIM, EVENT, LINK, MOVED, SHOWN, Event, Source
from streams.core.model.internal_messages import InternalMessage
from streams.core.model.policy import Policy
from streams.core.model.sources import InputId, ProgressReport, RepartitionedRecord, rank_of
from streams.core.profile.codec import NEWEST_FORMAT, NewerVersion, pack
from streams.core.profile.profile import Profile
from streams.shell.worker.task_startup import STEP

CLICKS, ORDERS = Source.CLICKSTREAM, Source.ORDERS
NOON = 1_763_719_200_000
VALUE = json.dumps({"type": "page_viewed", "occurred_at": NOON, "customer_id": "c"}).encode()


HERE, THERE = 0, 1
TWO = Partitioner(2)


def reader(identity_resolution: bool = False, partition: int = HERE) -> RepartitionDecoder:
    decoders = {CLICKS: Decoder(CLICKS, "shop.clicks", identity_resolution=identity_resolution)}
    return RepartitionDecoder(decoders, partition, TWO, identity_resolution=identity_resolution)


def living(partition: int, prefix: str, n: int = 0) -> str:
    """Return the nth id with its home on a partition."""
    found = [id_ for m in range(50) if TWO.partition((id_ := f"{prefix}-{m}").encode()) == partition]
    return found[n]


def record(value: bytes | None, *headers: tuple[str, bytes], offset: int = 5) -> Any:
    return SimpleNamespace(offset=offset, timestamp=0, key=b"k", value=value, headers=list(headers))


def test_forwarded_record_is_read_as_on_its_upstream_partition() -> None:
    header = forwarding_header(CLICKS, 3, 41, 17, NOON + 5)
    [(offset, forwarded)], refused = reader().read([record(VALUE, ("ce_id", b"1"), header)])
    here = Decoder(CLICKS, "shop.clicks").decode(VALUE, partition=3, offset=41, timestamp=NOON + 5)
    assert forwarded == RepartitionedRecord(rank_of(CLICKS), 3, 41, 17, [here])
    assert here.event_id == "shop.clicks/3/41"  # the id that the record has on every partition
    assert (offset, refused) == (5, [])


def test_reports_are_read_as_they_were_written() -> None:
    reports = [
        ProgressReport(rank_of(CLICKS), 3, 41, NOON, NOON - 7, None),
        ProgressReport(rank_of(ORDERS), 3, -1, None, None, NOON),
    ]
    news, refused = reader().read([record(encode_reports(reports), (PROGRESS, b""), offset=9)])
    assert news == [(9, report) for report in reports]
    assert refused == []


def test_foreign_records_are_refused_and_the_rest_is_read() -> None:
    good = forwarding_header(CLICKS, 3, 41, 17, NOON)
    raw = [
        record(VALUE),
        record(VALUE, (UPSTREAM, b"nonsense")),
        record(VALUE, (UPSTREAM, b"[7,3,41,17,0]")),
        record(b"{}", (PROGRESS, b"")),
        record(VALUE, forwarding_header(ORDERS, 3, 41, 17, NOON)),  # a topic that is declared co-partitioned here
        record(VALUE, good),
    ]
    news, refused = reader().read(raw)
    assert len(news) == 1
    assert [rejected.reason for _, rejected in refused] == ["invalid_field"] * 4 + ["wrong_partition"]


def test_a_forwarded_record_that_cannot_be_read_here_is_refused_and_leaves_no_gap() -> None:
    [(_, forwarded)], refused = reader().read([record(b"}", forwarding_header(CLICKS, 3, 41, 17, NOON))])
    assert forwarded == RepartitionedRecord(rank_of(CLICKS), 3, 41, 17, [])
    assert [rejected.reason for _, rejected in refused] == ["not_json"]


# -- parts of records


def both_ids(customer: str, device: str, **fields: Any) -> bytes:
    return json.dumps(
        {"type": "page_viewed", "occurred_at": NOON, "customer_id": customer, "anonymous_id": device, **fields}
    ).encode()


def decoded(source: Source, value: bytes, offset: int = 0) -> Event:
    return Decoder(source, "t", identity_resolution=True).decode(value, partition=HERE, offset=offset, timestamp=NOON)


def test_parts_are_read_as_they_were_written() -> None:
    order = both_ids("c", "d", type="order_completed", order_id="o", cart_id="k", checkout_id="h", event_id="e-1")
    anonymous = {"type": "cart_viewed", "occurred_at": NOON, "anonymous_id": "d", "cart_id": "k", "checkout_id": "h"}
    parts = [
        *parts_of(decoded(ORDERS, order, 7)),
        *parts_of(decoded(ORDERS, json.dumps({**anonymous, "type": "order_updated", "order_id": "o"}).encode(), 8)),
        *parts_of(decoded(CLICKS, json.dumps(anonymous).encode(), 9)),
    ]
    assert [(part.role, part.offset, part.customer, part.other) for part in parts] == [
        (LINK, 7, "d", "c"),
        (CLAIM, 7, "ck", "c"),
        (CLAIM, 7, "oh", "c"),
        (SHOWN, 9, "ck", "d"),
        (SHOWN, 9, "oh", "d"),
    ]
    for source in (CLICKS, ORDERS):
        of_source = [part for part in parts if part.source is source]
        header, value = encode_parts(source, 3, 5, of_source)
        news, refused = reader(identity_resolution=True).read([record(value, header)])
        for part in of_source:
            part.timestamp = part.at
        assert news == [(5, RepartitionedRecord(rank_of(source), 3, of_source[-1].offset, 5, of_source))]
        assert refused == []


def test_record_forwarded_whole_contains_its_parts_for_that_partition() -> None:
    customer, device = living(HERE, "c"), living(HERE, "d")
    value = both_ids(customer, device)
    header = forwarding_header(CLICKS, THERE, 41, 17, NOON + 5)
    [(_, forwarded)], refused = reader(identity_resolution=True).read([record(value, header)])
    assert isinstance(forwarded, RepartitionedRecord)
    event, link = forwarded.events
    assert (event.role, event.customer, event.other, event.identified) == (EVENT, customer, device, True)
    assert (link.role, link.customer, link.other, link.offset) == (LINK, device, customer, 41)
    assert refused == []

    value = both_ids(customer, living(THERE, "d"))
    [(_, forwarded)], _ = reader(identity_resolution=True).read([record(value, header)])
    assert isinstance(forwarded, RepartitionedRecord)
    assert [activity.role for activity in forwarded.events] == [EVENT]


def test_internal_messages_are_read_as_they_were_written() -> None:
    order = both_ids("c", "d", type="order_completed", order_id="o", total="9.90", items=[{"product_id": "p"}])
    event = InternalMessage(
        stream=1, number=4, cause=InputId(-1), offset=3, role=EVENT, at=NOON, customer="c", other="d",
        event=payload_of(decoded(ORDERS, order)),
    )  # fmt: skip
    link = InternalMessage(
        stream=0,
        number=5,
        cause=InputId(-1),
        offset=3,
        role=LINK,
        at=NOON,
        customer="d",
        other="c",
        event_id="e",
        event_type="t",
    )
    moved = moving(pack(Profile("d", False)))
    for item in (event, link, moved):
        header, value = encode_message(item, THERE, 2)
        news, refused = reader(identity_resolution=True).read([record(value, header)])
        there = event_of_message(item, len(value))
        assert news == [(5, RepartitionedRecord(message_rank(item.stream), THERE, item.number, 2, [there]))]
        assert refused == []


def test_foreign_parts_and_internal_messages_are_refused() -> None:
    link = InternalMessage(stream=0, number=5, cause=InputId(0), offset=3, role=LINK, at=NOON, customer="d", other="c")
    (_, header), value = encode_message(link, THERE, 2)
    (_, of_parts), run = encode_parts(CLICKS, THERE, 2, parts_of(decoded(CLICKS, both_ids("c", "d"))))
    raw = [
        record(value, (MESSAGE, b"nonsense")),
        record(value, (MESSAGE, of_parts)),
        record(run, (PARTS, header)),
        record(b"nonsense", (MESSAGE, header)),
        record(b'[[0,0,9,"d","c","e","t"]]', (PARTS, of_parts)),
        record(None, (PARTS, of_parts)),
    ]
    news, refused = reader(identity_resolution=True).read(raw)
    assert [rejected.reason for _, rejected in refused] == ["invalid_field"] * 6
    # Refused messages with a known number leave no gap.
    assert [(one.rank, one.offset, one.events) for _, one in news if isinstance(one, RepartitionedRecord)] == [
        (FIRST_MESSAGES, 5, []),
        (CLICKS, 0, []),
        (CLICKS, 0, []),
    ]


def moving(packed: bytes | None, **fields: Any) -> InternalMessage:
    given: dict[str, Any] = {"role": MOVED, "at": NOON, "customer": "c", "other": "d", "moved": packed} | fields
    return InternalMessage(stream=1, number=6, cause=InputId(-1), offset=3, **given)


def test_inconsistent_internal_message_is_refused_when_read() -> None:
    event = payload_of(decoded(CLICKS, both_ids("c", "d")))
    packed = pack(Profile("d", False))
    for item in (
        moving(None),
        moving(b"\1nonsense"),
        moving(packed, role=LINK),
        moving(packed, event=event),
        moving(None, role=EVENT),
        moving(None, role=EVENT, event=replace(event, source=7)),
    ):
        header, value = encode_message(item, THERE, 2)
        [(_, one)], refused = reader(identity_resolution=True).read([record(value, header)])
        assert isinstance(one, RepartitionedRecord)
        assert (one.offset, one.events) == (6, [])
        assert [rejected.reason for _, rejected in refused] == ["invalid_field"]


def test_internal_message_of_the_largest_event_fits_a_batch_with_pending_ones() -> None:
    """The message is in the record of the device. If it did not fit, one event would stop its partition for ever."""
    room = (1 << 19) - STEP.pending - Policy().profile_bytes
    for line in (b"{}", b'{"price":1}', b'{"product_id":"p"}'):
        rest = b'{"type":"cart_viewed","occurred_at":%d,"anonymous_id":"d","items":[' % NOON
        lines = min(MAX_ITEMS, (262_144 - len(rest) - 2) // (len(line) + 1))
        value = rest + b",".join([line] * lines) + b"]}"
        event = payload_of(decoded(CLICKS, value))
        _, packed = encode_message(moving(None, role=EVENT, event=event), THERE, 2)
        assert len(packed) < room
        if lines == MAX_ITEMS:
            with pytest.raises(Rejected, match="more than 10000"):
                decoded(CLICKS, rest + b",".join([line] * (lines + 1)) + b"]}")


def test_profile_packed_by_a_newer_version_is_not_rejected() -> None:
    header, value = encode_message(moving(bytes([NEWEST_FORMAT + 1, 0])), THERE, 2)
    with pytest.raises(NewerVersion):
        reader(identity_resolution=True).read([record(value, header)])


def test_parts_and_internal_messages_are_refused_without_identity_resolution() -> None:
    link = InternalMessage(stream=0, number=5, cause=InputId(0), offset=3, role=LINK, at=NOON, customer="d", other="c")
    header, value = encode_message(link, THERE, 2)
    news, refused = reader().read([record(value, header)])
    assert news == []
    assert [rejected.reason for _, rejected in refused] == ["wrong_partition"]


# -- parts and their partitions


def of_one(
    value: bytes, forwards: bool = False, identity_resolution: bool = True
) -> tuple[list[int], list[tuple[bool, int, int]]]:
    """Return the roles of the parts that belong here; of the others whether they are a record, their role and their
    partition."""
    decoder = Decoder(CLICKS, "shop.clicks", identity_resolution=identity_resolution)
    raw = record(value)
    raw.timestamp = NOON
    activities, refused, elsewhere = decoder.decode_all([raw], HERE, TWO, forwards)
    assert len(refused) == (0 if activities or elsewhere else 1)
    return [a.role for a in activities], [(of is not None, a.role, to) for of, a, to in elsewhere]


def test_parts_are_forwarded_unless_the_record_goes_to_their_partition() -> None:
    here, there = living(HERE, "c"), living(THERE, "c")
    device_here, device_there = living(HERE, "d"), living(THERE, "d")
    assert of_one(both_ids(here, device_here)) == ([EVENT, LINK], [])
    assert of_one(both_ids(here, device_there)) == ([EVENT], [(False, LINK, THERE)])
    assert of_one(both_ids(there, device_here), forwards=True) == ([LINK], [(True, EVENT, THERE)])
    assert of_one(both_ids(there, device_there), forwards=True) == ([], [(True, EVENT, THERE)])


def test_a_refused_record_has_no_parts() -> None:
    assert of_one(both_ids(living(THERE, "c"), living(HERE, "d"))) == ([], [])


def test_device_of_a_customer_is_ignored_without_identity_resolution() -> None:
    assert of_one(both_ids(living(HERE, "c"), "anonymous"), identity_resolution=False) == ([EVENT], [])
    for identity_resolution in (False, True):
        decoder = Decoder(CLICKS, "shop.clicks", identity_resolution=identity_resolution)
        decoder.decode(both_ids("c", "anonymous"), partition=HERE, offset=0, timestamp=NOON)
        assert decoder.counts["identifiers_rejected", ""] == int(identity_resolution)
