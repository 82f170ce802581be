"""Run a backtest, and write histories for one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from streams import playbooks
from streams.core.lifecycle.playbook import Playbook
from streams.core.model.event import Source
from streams.replay.backtest import Backtest, decoders, ignore_rejected
from streams.replay.backtest_page import Findings
from streams.replay.input_files import Lines
from streams.replay.log_run import FileReader
from streams.settings import Settings
from streams.values import parse_time
from tests.support.replay_data import CLICKS, ORDERS

NOW, UNTIL = parse_time("2026-11-21T12:00:00Z"), parse_time("2027-03-15T00:00:00Z")
TEXT = (playbooks.loader._HERE / "ecommerce.yaml").read_text()
OLD = playbooks.load("ecommerce")


def changed(*changes: tuple[str, str], name: str = "tried") -> Playbook:
    text = TEXT.replace("playbook: ecommerce", f"playbook: {name}")
    for before, after in changes:
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    return playbooks.parse(text)


QUICKER = changed(("cart: {after: 60m", "cart: {after: 40m"))


def find(
    new: Playbook,
    old: Playbook | None = None,
    clicks: Path = CLICKS,
    orders: Sequence[Path] = (ORDERS,),
    until: int | None = UNTIL,
    now: int = NOW,
) -> Findings:
    settings = Settings()
    with Lines([clicks]) as clickstream, Lines(orders) as sales:
        inputs = {Source.CLICKSTREAM: clickstream, Source.ORDERS: sales}
        reader = FileReader(inputs, decoders(settings, new, old), ignore_rejected, until=until, now=now)
        test = Backtest(settings, reader, new, old, until=until)
        while test.step():
            pass
        return test.finish()


def write(path: Path, *events: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    return path


def event(number: int, at: str, type_: str = "product_added", customer: str = "c-1", **fields: Any) -> dict[str, Any]:
    return {"event_id": f"e-{number}", "type": type_, "occurred_at": at, "customer_id": customer, **fields}
