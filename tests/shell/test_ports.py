"""Ports are reserved across processes."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from streams.shell import ports
from streams.shell.ports import HOST, is_listening, reserve_port

RESERVE_ONE_OF = """
import sys
from streams.shell import ports
ports._PORTS = [int(port) for port in sys.argv[1:]]
print(ports.reserve_port())
"""


def test_two_processes_reserve_different_ports() -> None:
    pair = [reserve_port(), reserve_port()]
    free = next(port for port in range(19_000, 20_000) if not is_listening(port))
    command = [sys.executable, "-c", RESERVE_ONE_OF, *map(str, pair), str(free)]
    assert int(subprocess.check_output(command, timeout=60)) == free


def test_port_with_a_listener_is_not_reserved(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server((HOST, 0)) as server:
        taken, free = server.getsockname()[1], next(p for p in range(19_000, 20_000) if not is_listening(p))
        monkeypatch.setattr(ports, "_PORTS", [taken, free])
        monkeypatch.setattr(ports, "_reserved", set())
        assert reserve_port() == free
