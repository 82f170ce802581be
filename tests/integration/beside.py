"""A worker with an ordinary topic, agent and table in the application, and Faust's own web server. Work on the ordinary
topic is committed only when the worker releases it, in a rebalance or at its end."""

from __future__ import annotations

import sys
from typing import Any

from streams.settings import Settings, load
from streams.shell.worker import command, factory
from streams.shell.worker.application import App

TABLE = "visits-by-page"
HOST = "127.0.0.1"


def program(topic: str, web_port: int) -> str:
    """Return a program for `ProcessCluster.start_worker` that counts the keys of `topic`, and shows the counts on
    `web_port`."""
    return f"from tests.integration import beside; beside.main({topic!r}, {web_port})"


def main(topic: str, web_port: int) -> None:
    patched: Any = factory
    configuration, create = factory.faust_configuration, factory.create_app
    web = {"web_enabled": True, "web_bind": HOST, "web_host": HOST, "web_port": web_port}
    patched.faust_configuration = lambda settings: configuration(settings) | web | {"broker_commit_interval": 1e6}

    def create_with(settings: Settings, **options: Any) -> App:
        app = create(settings, **options)
        count_keys(app, topic)
        return app

    patched = command
    patched.create_app = create_with
    App.BootStrategy.enable_web = True
    sys.exit(command.run(load()))


def count_keys(app: App, name: str) -> None:
    """Add an ordinary agent and table to the application."""
    topic = app.topic(name, key_serializer="json", value_serializer="json")
    counts = app.Table(TABLE, default=int)

    @app.agent(topic, name="visits")
    async def count(stream: Any) -> None:
        async for key, _ in stream.items():
            counts[key] += 1
