"""Faust as its documentation teaches it: an agent, a table with a changelog, one `send` per output.

Faust's own Cython extensions are in its wheel and in use; events are plain JSON (its records would cost more).
"""

from __future__ import annotations

from typing import Any

import faust

from benchmarks.job import PARTITIONS
from benchmarks.peers import arguments, plain
from benchmarks.peers.arguments import Arguments

COMMIT_S = 2.8
"""Faust's default."""


def create_app(given: Arguments) -> faust.App:
    """Return the application."""
    app = faust.App(
        given.group,
        broker=f"kafka://{given.bootstrap}",
        topic_partitions=PARTITIONS,
        store="memory://",
        datadir=str(given.state_dir),
        broker_commit_interval=given.interval(COMMIT_S),
        web_enabled=False,
    )
    events = app.topic(given.input, key_type=str, key_serializer="raw", value_serializer="json")
    changes = app.topic(given.output, key_type=str, key_serializer="raw", value_serializer="json")
    customers = app.Table("customers", default=plain.new, partitions=PARTITIONS)

    @app.agent(events)  # type: ignore[untyped-decorator, unused-ignore]
    async def lifecycle(stream: faust.StreamT[dict[str, Any]]) -> None:
        async for event in stream:
            customer = event["customer_id"]
            state = customers[customer]
            outputs = plain.step(
                state, customer, event["type"], event["occurred_at"], event["product_id"], event["quantity"]
            )
            customers[customer] = state
            for output in outputs:
                await changes.send(key=customer, value=output)

    return app


if __name__ == "__main__":
    given = arguments.parse(__doc__)
    worker = faust.Worker(create_app(given), loglevel="WARNING")
    arguments.ready()
    worker.execute_from_commandline()
