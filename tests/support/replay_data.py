"""Paths of the small history that the tests of `replay` and `backtest` read."""

from __future__ import annotations

from pathlib import Path

DATA = Path(__file__).parents[1] / "replay" / "data"
CLICKS = DATA / "clickstream.jsonl"
ORDERS = DATA / "orders.jsonl"
