"""An ordinary topic, agent and table in the same application work, and do not affect the main job."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka.admin import NewTopic

from streams.devtools.ports import reserve_port
from streams.shell.admin.topics import STATE_TABLE
from tests.integration import beside
from tests.support.broker_fixtures import ON_APACHE_KAFKA
from tests.support.process_cluster import ProcessCluster, WorkerProcess, http_get, wait_until
from tests.support.shop_events import click, now, order

CUSTOMERS = 30
PAGES = [f"page-{n}" for n in range(8)]


class Visits:
    """The ordinary topic, and the counts that its table must show."""

    def __init__(self, cluster: ProcessCluster) -> None:
        self.topic = f"visits-{cluster.settings.app_id}"
        self.expected = Counter[str]()
        self._cluster = cluster

    async def create(self) -> None:
        async with self._cluster.admin() as admin:
            await admin.create_topics([NewTopic(self.topic, self._cluster.settings.partitions, 1)])

    def start_worker(self) -> tuple[WorkerProcess, int]:
        """Start a worker with the table. Return it and the port of its web views."""
        port = reserve_port()
        return self._cluster.start_worker(program=beside.program(self.topic, port)), port

    async def come(self, *pages: str) -> None:
        self.expected.update(pages)
        await self._cluster.produce(self.topic, [(json.dumps(page), {}) for page in pages])

    async def come_one_by_one(self, port: int) -> None:
        """Send a visit of each page, and wait for its count. The embedded broker reports the end of a changelog rightly
        only if the last batch has one record."""
        for page in PAGES:
            await self.come(page)
            await self.are_counted(port)

    async def are_counted(self, port: int) -> None:
        """Wait until the web views show every count. Fail as soon as a count is too high."""

        def all_right() -> bool:
            shown = {page: view(port, f"/table/{beside.TABLE}/{page}/") or 0 for page in self.expected}
            too_high = {page: (n, self.expected[page]) for page, n in shown.items() if n > self.expected[page]}
            assert too_high == {}, "counted more than once"
            return shown == self.expected

        await wait_until(all_right, f"these counts: {self.expected}")


def view(port: int, path: str) -> Any:
    """Return the answer of Faust's web server; None if there is none."""
    status, body = http_get(port, path)
    return json.loads(body) if status == 200 else None


async def stages(*workers: WorkerProcess, **counts: int) -> None:
    """Wait until each stage has a number of customers."""
    for stage, count in counts.items():
        await wait_until(
            lambda s=stage, n=count: sum(w.metric("lifecycle_customers", stage=s) for w in workers) == n,  # type: ignore[misc]
            f"{count} customers in stage {stage}",
        )


async def end(worker: WorkerProcess) -> None:
    worker.terminate()
    assert worker.process.wait(timeout=20) == 0, worker.tail()


@pytest.mark.slow
@ON_APACHE_KAFKA
async def test_ordinary_topic_and_table_survive_rebalances_and_restarts_of_the_worker(
    make_cluster: Callable[..., Any],
) -> None:
    cluster: ProcessCluster = await make_cluster()
    visits = Visits(cluster)
    await visits.create()

    first, port = visits.start_worker()
    await first.ready()
    await visits.come(*PAGES * 50)
    await cluster.clicks(*(click(f"c-{n}", now()) for n in range(CUSTOMERS)))
    await visits.are_counted(port)
    await visits.come_one_by_one(port)
    await stages(first, visitor=CUSTOMERS)
    assert {table["name"] for table in view(port, "/table/")} == {STATE_TABLE, beside.TABLE}
    assert view(port, f"/table/{STATE_TABLE}/")["name"] == STATE_TABLE
    assert http_get(port, f"/table/{STATE_TABLE}/c-1/")[0] == 404  # no route shows a customer

    second, second_port = visits.start_worker()  # and so a rebalance
    await second.ready()
    assigned = "lifecycle_partitions_assigned"
    await wait_until(lambda: first.metric(assigned) == second.metric(assigned) == 1, "one partition each")
    await visits.come_one_by_one(second_port)
    await visits.are_counted(port)  # both workers know which one to ask
    await cluster.orders(*(order(f"c-{n}", now(), f"o-{n}") for n in range(CUSTOMERS)))
    await stages(first, second, visitor=0, customer=CUSTOMERS)

    await end(first)
    await visits.come_one_by_one(second_port)
    await cluster.clicks(*(click(f"d-{n}", now()) for n in range(CUSTOMERS)))
    await stages(second, visitor=CUSTOMERS, customer=CUSTOMERS)

    await end(second)
    third, third_port = visits.start_worker()
    await third.ready()
    await visits.come_one_by_one(third_port)
    await cluster.orders(*(order(f"d-{n}", now(), f"p-{n}") for n in range(CUSTOMERS)))
    await stages(third, visitor=0, customer=2 * CUSTOMERS)
    await end(third)

    changes = await cluster.stage_changes()
    assert Counter(change["to_stage"] for change in changes) == {"visitor": 2 * CUSTOMERS, "customer": 2 * CUSTOMERS}
    assert len({change["id"] for change in changes}) == len(changes)
    assert await cluster.documents(cluster.settings.dead_letters_topic) == []
