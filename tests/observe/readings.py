"""Facts to feed the adapter with. Every identifier in them contains `SECRET`."""

from __future__ import annotations

from typing import Any

from streams.core.model.counters import CounterName
from streams.core.model.items import Item
from streams.core.model.outputs import Abandonment, Cause, IdentityChange, StageChange, Summary, Triggered
from streams.observe.prometheus import Metrics
from streams.observe.readings import RepartitionTaskReadings, SourceReadings, TaskReadings

SECRET = "jane.doe"
NOW = 1_800_000_000.0
"""The time of the adapter's clock, s."""

SUMMARY = Summary(
    first_seen_at=0,
    last_seen_at=0,
    sessions=1,
    product_views=0,
    orders=0,
    revenue=0,
    currency="EUR",
    average_order_value=None,
    cart_items=0,
    cart_value=0,
)


def stage_change(from_stage: str | None = "visitor", to_stage: str | None = "prospect") -> StageChange:
    return StageChange(
        id=f"id-{SECRET}",
        customer=f"c-{SECRET}",
        identified=True,
        subscribed=None,
        track="lifecycle",
        from_stage=from_stage,
        to_stage=to_stage,
        occurred_at=0,
        sequence=1,
        cycle=1,
        cause=Cause("activity", "prospect", f"e-{SECRET}", f"type-{SECRET}"),
        previous_stage_ms=None,
        profile=SUMMARY,
    )


def abandonment(type: str = "abandoned", step: int = 1, **more: Any) -> Abandonment:
    return Abandonment(
        id=f"id-{SECRET}",
        type=type,  # type: ignore[arg-type]
        kind="cart",
        abandonment_id=f"id-{SECRET}",
        customer=f"c-{SECRET}",
        identified=False,
        subscribed=True,
        step=step,
        steps=3,
        occurred_at=0,
        last_activity_at=0,
        episode_started_at=0,
        items=(Item(f"p-{SECRET}", f"category-{SECRET}", 1, "EUR", 1),),
        items_cut=False,
        value=1,
        currency="EUR",
        cart_id=f"cart-{SECRET}",
        checkout_id=f"checkout-{SECRET}",
        session_id=f"session-{SECRET}",
        supersedes=f"id-{SECRET}",
        recent_abandonments=1,
        order_id=f"order-{SECRET}",
        **more,
    )


def triggered() -> Triggered:
    return Triggered(
        id="t",
        customer="c-1",
        identified=True,
        subscribed=None,
        trigger="welcome",
        occurred_at=0,
        begun_at=0,
        number=1,
        step=1,
        steps=1,
        bucket=0,
        held_out=True,
        cause=Cause(kind="activity", rule="welcome"),
        event_id="e-1",
        event_type="signed_up",
        output_id=None,
        currency="EUR",
        data=(),
    )


def identity_change() -> IdentityChange:
    return IdentityChange(
        id=f"id-{SECRET}",
        type="linked",
        customer=f"c-{SECRET}",
        occurred_at=0,
        anonymous_id=f"a-{SECRET}",
        event_id=f"e-{SECRET}",
        event_type=f"type-{SECRET}",
    )


OUTPUTS = (
    stage_change(),
    stage_change(None, "visitor"),
    stage_change("visitor", None),
    triggered(),
    identity_change(),
    abandonment(),
    abandonment(step=2),
    abandonment("recovered", match="items"),
    abandonment("retracted", reason="late_order"),
    abandonment("expired"),
)


def task(partition: int = 3, **population: int) -> TaskReadings:
    return TaskReadings(
        partition=partition,
        watermark=int(NOW * 1000) - 15_500,
        blocked_by="orders",
        blocked_by_partition=5,
        repartition_buffered_bytes=1234,
        sources=(
            SourceReadings(
                "clickstream", int(NOW * 1000) - 1_000, caught_up=False, backfilling=True, buffered_bytes=77
            ),
            SourceReadings("orders", int(NOW * 1000) - 5_500, caught_up=True, backfilling=False, buffered_bytes=0),
        ),
        timers=12,
        aliases=9,
        largest_profile_bytes=4_096,
        population=tuple(population.items()),
        places=(("tier", "gold", 3),),
        erasures_waiting=2,
        erasure_residue=1,
    )


def repartition_task(partition: int) -> RepartitionTaskReadings:
    return RepartitionTaskReadings(
        partition, SourceReadings("orders", int(NOW * 1000) - 2_000, True, False, buffered_bytes=11)
    )


def adapter(**options: Any) -> Metrics:
    defaults: dict[str, Any] = {
        "version": "1.2.3",
        "playbook": ("shop", 3, "5b8d3c1e7f60a294"),
        "ready": lambda: True,
        "event_loop_lag": lambda: 0.25,
        "clock": lambda: NOW,
        "strict": True,
    }
    return Metrics(**(defaults | options))


TALLIES: dict[tuple[CounterName, str], int] = {
    ("applied", "clickstream"): 5,
    ("duplicate", "orders"): 1,
    ("replayed", "orders"): 2,
    ("rejected", "clickstream"): 3,
    ("late", "clickstream"): 4,
    ("out_of_order", "orders"): 1,
    ("corrections_ignored", "refund_currency"): 1,
    ("orders_conflicting", "total"): 1,
    ("outputs_withheld", "abandoned/delayed"): 1,
    ("trimmed", "cart_lines"): 1,
    ("repartition_received", "taken"): 1,
    ("erased", "orders"): 1,
    ("erasures", "applied"): 1,
    ("internal_messages", "devices"): 2,
    ("identity_resolution", "merged"): 1,
}
"""Every counter of the engine."""


def feed_everything(metrics: Metrics) -> None:
    """Call every method with ordinary values."""
    metrics.assigned({3, 4}, {("orders", 7)})
    metrics.repartition_task("orders", repartition_task(7))
    metrics.task(task(3, visitor=2, customer=1))
    metrics.task(task(4, visitor=5))
    metrics.consumer_lag({("clickstream", 3): 17, ("orders", 4): 0})
    metrics.recovery_remaining({4: 1_000}, 2.5)
    metrics.changelog_read(300)
    metrics.silent_sources({"orders"})
    metrics.clock_skew(-1.5)
    metrics.playbook_disagreement(2)
    metrics.last_failure("topic_recreated", 1_700_000_000.0, {"topic_recreated": 1, "fenced": 2})
    metrics.engine_counts(TALLIES)
    metrics.forwarded("clickstream", 4, 7)
    metrics.decoded("clickstream", {("identifiers_rejected", ""): 2, ("strings_cut", ""): 1}.items())
    metrics.decoded("orders", {("lines_ignored", "negative_price"): 3, ("fields_ignored", "coupon"): 1}.items())
    metrics.shared_customer_id()
    metrics.dead_letter("clickstream", "not_json")
    metrics.wrong_partition("clickstream")
    metrics.outputs_sent(OUTPUTS)
    metrics.output_latency("lifecycle-stage-changes", (0.02, 0.3))
    metrics.deadlines_fired((14.0, 16.5))
    metrics.chunk("clickstream", 250, 0.004)
    metrics.committed(0.03)
    metrics.recovery_restarted()
    metrics.transaction("committed", 0.02)
