"""The counters of the engine, as data: their names, and the labels that each may have.

`Effects.counts` is an `EngineCounters`. mypy checks every name that the core counts against `CounterName`;
`tests/core/test_counters.py` checks the labels against `COUNTER_LABELS`. `streams.observe` builds its metrics from the
same table.
"""

from __future__ import annotations

from collections import Counter
from typing import Final, Literal

from streams.core.model.event import Source

CounterName = Literal[
    "applied",
    "duplicate",
    "replayed",
    "erased",
    "rejected",
    "late",
    "out_of_order",
    "corrections_ignored",
    "orders_conflicting",
    "outputs_withheld",
    "trimmed",
    "repartition_received",
    "internal_messages",
    "identity_resolution",
    "erasures",
]
EngineCounters = Counter[tuple[CounterName, str]]
"""Increments by (name, label)."""

SOURCE_LABELS: Final = tuple([source.name.lower() for source in Source])
STREAM_LABELS: Final = ("carts", "devices")
"""Streams of internal messages, by the aliases that cause them, in the order of the resolution stages."""
OUTPUT_TYPES: Final = (
    "stage_changed", "abandoned", "recovered", "retracted", "expired", "triggered",
    "linked", "switched", "refused", "erased",
)  # fmt: skip
WITHHELD_REASONS: Final = ("before_emit_after", "delayed", "follows_withheld", "source_silent")

COUNTER_LABELS: Final[dict[CounterName, tuple[str, ...]]] = {
    # Input events, by source and outcome. Each has one outcome.
    "applied": SOURCE_LABELS,
    "duplicate": SOURCE_LABELS,  # the customer has an event with that id
    "replayed": SOURCE_LABELS,  # applied before a restart
    "erased": SOURCE_LABELS,  # older than the erasure of its customer or device
    "rejected": SOURCE_LABELS,  # a dead letter; counted by the shell, since the engine never gets it
    # Applied events again.
    "late": SOURCE_LABELS,  # older than the watermark
    "out_of_order": SOURCE_LABELS,  # older than the newest event of the customer
    # Parts of the rest.
    "corrections_ignored": (  # in another currency than the order
        "refund_currency", "update_currency", "cancellation_currency",
    ),
    "orders_conflicting": ("total", "items"),  # repeated completions that differ: two stores may share order ids
    "outputs_withheld": tuple([f"{type_}/{reason}" for type_ in OUTPUT_TYPES for reason in WITHHELD_REASONS]),
    "trimmed": (  # the part of a profile or an alias that reached its bound
        "event_ids", "orders", "order_notes", "cart_lines", "cart_log", "cart_orders", "viewed_products",
        "abandoned_items", "windows", "categories_bought", "products_bought", "categories_viewed", "kept", "credits",
        "trigger_runs", "owners", "devices",
    ),
    "repartition_received": ("taken", "repeated"),  # skipped: forwarded again after a restart, or out of turn
    "internal_messages": STREAM_LABELS,
    "identity_resolution": ("linked", "switched", "refused", "earlier", "merged"),
    "erasures": ("applied", "repeated"),  # requests, on the partition where profiles of the id live
}  # fmt: skip
"""The labels that each counter may have."""
