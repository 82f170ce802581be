"""A worker that was stopped for longer than its session wakes up with old state, and must do no harm."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from tests.integration.cluster import Cluster, until
from tests.integration.shop import MINUTE, click, now, order


async def test_a_zombie_leaves_without_touching_what_others_own_now(make_cluster: Callable[..., Any]) -> None:
    cluster: Cluster = await make_cluster(partitions="1")
    zombie = cluster.start_worker()
    await zombie.ready()
    start = now() - 10 * MINUTE
    await cluster.clicks(*(click(f"c-{n}", start, "product_viewed", product_id="p") for n in range(30)))
    await until(lambda: zombie.metric("lifecycle_events_total", outcome="applied") == 30, "30 events")
    zombie.process.send_signal(signal.SIGSTOP)
    heir = cluster.start_worker()
    await heir.ready()
    await until(lambda: heir.metric("lifecycle_partitions_assigned") == 1, "the heir to take over")
    await cluster.orders(*(order(f"c-{n}", start + MINUTE, f"o-{n}") for n in range(30)))
    await until(lambda: heir.metric("lifecycle_events_total", source="orders") == 30, "30 orders with the heir")
    zombie.process.send_signal(signal.SIGCONT)
    await cluster.clicks(*(click(f"c-{n}", start + 2 * MINUTE, "message_clicked") for n in range(30)))
    await until(
        lambda: heir.metric("lifecycle_events_total", source="clickstream", outcome="applied") >= 30, "30 clicks"
    )
    # Whether it left or joined again: whoever has the partition next has all of it.
    heir.kill()
    if zombie.process.poll() is None:
        zombie.kill()
    last = cluster.start_worker()
    await last.ready()
    await until(lambda: last.metric("lifecycle_customers", stage="customer") == 30, "30 customers")
    assert last.metric("lifecycle_customers") == 30
    changes = await cluster.stage_changes()
    assert {(d["customer_id"], d["to_stage"], d["sequence"]) for d in changes} == {
        (f"c-{n}", stage, sequence) for n in range(30) for sequence, stage in ((1, "visitor"), (2, "customer"))
    }
    assert len({d["id"] for d in changes}) == 60
