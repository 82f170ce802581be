"""The example on the README's first screen is what a replay of it gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from streams.replay import replay
from streams.settings import Settings
from tests.support.documentation import ROOT, fences

LAMP = {"product_id": "lamp-3", "price": "79.00"}
CUSTOMER = {"customer_id": "c-1", "currency": "EUR"}


def event(time: str, type_: str, **fields: Any) -> str:
    return json.dumps({"type": type_, "occurred_at": f"2026-11-22T{time}:00Z", **CUSTOMER, **fields}) + "\n"


def test_story_of_the_readme_gives_the_output_shown(tmp_path: Path) -> None:
    clicks, orders, out = tmp_path / "clicks.jsonl", tmp_path / "orders.jsonl", tmp_path / "out"
    clicks.write_text(
        event("10:00", "product_viewed", **LAMP) + event("10:05", "product_added", cart_id="cart-7", **LAMP)
    )
    orders.write_text(event("18:00", "order_completed", order_id="o-1", cart_id="cart-7", total="79.00", items=[LAMP]))
    assert replay.run(Settings(), clickstream=[clicks], orders=[orders], out=out, until=None) == 0
    stages, abandonments = (
        [json.loads(line) for line in (out / f"{name}.jsonl").read_text().splitlines()]
        for name in ("stage-changes", "abandonments")
    )
    assert [(change["occurred_at"][11:16], change["to_stage"]) for change in stages] == [
        ("10:00", "visitor"),
        ("10:05", "prospect"),
        ("18:00", "customer"),
    ]
    assert [(output["occurred_at"][11:16], output["type"]) for output in abandonments] == [
        ("11:05", "abandoned"),
        ("18:00", "recovered"),
    ]
    [shown] = [json.loads(fence.text) for fence in fences(ROOT / "README.md") if fence.language == "json"]
    assert shown == abandonments[0]
