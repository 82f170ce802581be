"""The creation of the application: configuration of Faust, table and agents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from streams import deployment
from streams.core.engine.partition_engine import LABELS
from streams.core.event_time.inputs import ERASURES, REPARTITION
from streams.core.lifecycle.playbook import Playbook
from streams.core.model.event import Source
from streams.settings import Settings
from streams.shell.admin.topic_configs import STATE_TABLE, changelog_configs
from streams.shell.tasks.partition_state import states
from streams.shell.worker.application import App
from streams.transport import driver
from streams.transport.chunks import ChunkSchema, SeldomSchema
from streams.transport.recovery import TableManager
from streams.transport.table import StateTable


def faust_configuration(settings: Settings) -> dict[str, Any]:
    """Return Faust's settings. All others keep Faust's defaults."""
    return {
        "broker": ";".join(f"{driver.SCHEME}://{address}" for address in settings.broker.split(",")),
        "TableManager": TableManager,
        "topic_partitions": settings.partitions,
        "topic_replication_factor": settings.replication,
        "topic_disable_leader": True,
        "store": "memory://",
        "datadir": str(settings.data_dir),
        "web_enabled": False,
        "processing_guarantee": "at_least_once",
        "consumer_auto_offset_reset": "earliest",
        "consumer_max_fetch_size": 2 << 20,
        "producer_max_batch_size": 1 << 19,
        "producer_max_request_size": 4 << 20,
        "producer_linger_ms": 0,
        "producer_request_timeout": 120.0,
        "broker_session_timeout": settings.session_timeout / 1000,
        "broker_heartbeat_interval": settings.heartbeat_interval / 1000,
        "broker_rebalance_timeout": settings.rebalance_timeout / 1000,
        "broker_request_timeout": max(40.0, settings.session_timeout / 1000 + 10),
        "broker_check_crcs": True,
        "table_standby_replicas": settings.standby_replicas,
        "stream_recovery_delay": 0.0,
        "stream_wait_empty": False,
        "worker_redirect_stdouts": False,
    }


def create_app(
    settings: Settings, *, playbook: Playbook | None = None, clock: Callable[[], int] = driver.wall_clock
) -> App:
    """Return the application of one worker. `playbook` replaces that of the settings."""
    app = App(
        settings,
        deployment.load_playbook(settings) if playbook is None else playbook,
        clock,
        faust_configuration(settings),
    )
    table = StateTable(
        app,
        name=STATE_TABLE,
        new_state=states(settings, clock),
        beacon=app.tables.beacon,
        partitions=settings.partitions,
        extra_topic_configs=changelog_configs(settings),
    )
    app.tables.add(table)
    app.context.table = table
    for rank, name in app.context.topics.by_rank.items():
        schema = SeldomSchema() if rank == ERASURES else ChunkSchema()
        topic = app.topic(name, schema=schema, partitions=settings.partitions, acks=False)
        # Set here, because `App.topic` drops the argument. The default is thousands of messages, each of them a poll: a
        # whole backlog would be queued.
        topic.maxsize = 1
        _add_agent(app, rank, topic)
    return app


def _add_agent(app: App, rank: int, topic: Any) -> None:
    others: dict[int, str] = {REPARTITION: "activity", ERASURES: "erasures"}

    @app.agent(topic, name=f"streams.{others.get(rank) or LABELS[Source(rank)]}")
    async def agent(stream: Any) -> None:
        async for polled in stream:
            await app.process(rank, stream.current_event.message, polled)
