"""Quix Streams as its documentation teaches it: a StreamingDataFrame with state (RocksDB and changelog)."""

from __future__ import annotations

from typing import Any

from quixstreams import Application, State

from benchmarks.peers import arguments, plain
from benchmarks.peers.arguments import Arguments

COMMIT_S = 5.0
"""Quix Streams' default."""


def step(event: dict[str, Any], state: State) -> list[plain.Output]:
    """Process an event, given the state of its key."""
    known = state.get("customer") or plain.new()
    outputs = plain.step(
        known, event["customer_id"], event["type"], event["occurred_at"], event["product_id"], event["quantity"]
    )
    state.set("customer", known)
    return list(outputs)


def create_app(given: Arguments) -> Application:
    """Return the application."""
    app = Application(
        broker_address=given.bootstrap,
        consumer_group=given.group,
        auto_offset_reset="earliest",
        commit_interval=given.interval(COMMIT_S),
        state_dir=given.state_dir,
        loglevel="WARNING",
    )
    events = app.dataframe(app.topic(given.input, value_deserializer="json"))
    events.apply(step, stateful=True, expand=True).to_topic(app.topic(given.output, value_serializer="json"))
    return app


if __name__ == "__main__":
    app = create_app(arguments.parse(__doc__))
    arguments.ready()
    app.run()
