"""Stock Faust with a plain changelogged table, as in its documentation. Prints `recovered` when the table is.

A process that `recovery` starts, kills and starts again.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import faust


def main() -> None:
    """Store the events of a topic in a table, one state per customer."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("broker", "group", "topic", "partitions", "data-dir"):
        parser.add_argument(f"--{name}", required=True)
    given = parser.parse_args()
    app = faust.App(
        given.group,
        broker=f"kafka://{given.broker}",
        topic_partitions=int(given.partitions),
        store="memory://",
        datadir=given.data_dir,
        web_enabled=False,
        broker_session_timeout=10.0,
        broker_heartbeat_interval=3.0,
    )
    events = app.topic(given.topic, key_type=str, key_serializer="raw", value_serializer="json")
    customers = app.Table("customers", default=dict, partitions=int(given.partitions))

    @app.agent(events)  # type: ignore[untyped-decorator, unused-ignore]
    async def keep(stream: Any) -> None:
        async for event in stream:
            customers[event["customer_id"]] = event

    @customers.on_recover  # type: ignore[untyped-decorator, unused-ignore]
    async def recovered() -> None:
        print("recovered", flush=True)

    faust.Worker(app, loglevel="ERROR", redirect_stdouts=False).execute_from_commandline()


if __name__ == "__main__":
    sys.argv[0] = "stock_faust"
    main()
