"""Ports are reserved across processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from streams.devtools import ports
from streams.devtools.ports import HOST, reserve_port
from streams.errors import UserError

RESERVE_AND_WAIT = """
import sys
from streams.devtools import ports
ports._PORTS = [int(port) for port in sys.argv[1:]]
print(ports.reserve_port(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the only two ports that there are to reserve. The lock file is the test's own."""
    found = [reserve_port(), reserve_port()]
    monkeypatch.setattr(ports, "_PORTS", found)
    monkeypatch.setattr(ports, "_reserved", set())
    lock_file = (tmp_path / f"lifecycle-ports-{os.getuid()}.lock").open("ab")
    monkeypatch.setattr(ports, "_lock_file", lambda: lock_file)
    return found


def test_two_processes_reserve_different_ports(pair: list[int], tmp_path: Path) -> None:
    command = [sys.executable, "-c", RESERVE_AND_WAIT, *map(str, pair)]
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        theirs = int(other.stdout.readline())
        ours = reserve_port()
        assert sorted([theirs, ours]) == sorted(pair)
        with pytest.raises(UserError, match="no port from"):
            reserve_port()
        other.kill()
    assert reserve_port() == theirs


def test_port_with_a_listener_is_not_reserved(pair: list[int]) -> None:
    with socket.create_server((HOST, pair[0])):
        assert reserve_port() == pair[1]
