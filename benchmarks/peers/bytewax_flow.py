"""Bytewax as its documentation teaches it: Kafka in and out, a stateful operator, recovery from SQLite.

It keeps offsets in its recovery store, not in a consumer group.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import bytewax.operators as op
import orjson
from bytewax.connectors.kafka import KafkaSinkMessage
from bytewax.connectors.kafka import operators as kop
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main

from benchmarks.peers import arguments, plain
from benchmarks.peers.arguments import Arguments
from benchmarks.peers.bytewax_store import DIRECTORY, INPUT

EPOCH_S = 10.0
"""Bytewax' default."""


def step(state: plain.State | None, event: dict[str, Any]) -> tuple[plain.State, Iterable[plain.Output]]:
    """Process an event, given the state of its key, if any."""
    known = state or plain.new()
    return known, plain.step(
        known, event["customer_id"], event["type"], event["occurred_at"], event["product_id"], event["quantity"]
    )


def create_flow(given: Arguments) -> Dataflow:
    """Return the dataflow."""
    flow = Dataflow("common-job")
    brokers = [given.bootstrap]
    records = kop.input(INPUT, flow, brokers=brokers, topics=[given.input])
    events = op.map("decode", records.oks, lambda record: orjson.loads(record.value))
    keyed = op.key_on("customer", events, lambda event: event["customer_id"])
    changes = op.stateful_flat_map("lifecycle", keyed, step)
    encoded = op.map("encode", changes, lambda change: KafkaSinkMessage(change[0].encode(), orjson.dumps(change[1])))
    kop.output("changes", encoded, brokers=brokers, topic=given.output, add_config={"partitioner": "murmur2_random"})
    return flow


if __name__ == "__main__":
    given = arguments.parse(__doc__)
    flow = create_flow(given)
    store = given.state_dir / DIRECTORY
    if not store.exists():
        store.mkdir()
        init_db_dir(store, 1)
    arguments.ready()
    cli_main(
        flow,
        epoch_interval=timedelta(seconds=given.interval(EPOCH_S)),
        recovery_config=RecoveryConfig(store),
    )
