"""Free TCP ports for servers that are started on this machine: brokers, and the HTTP server of a worker."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from functools import cache
from pathlib import Path
from typing import IO, Final

from streams.errors import UserError

HOST = "127.0.0.1"
_PORTS: Final = range(20_000, 32_000)
"""Below the ports that Linux gives to the client's end of a connection (32768 and above), so that no client takes one
of these while its server is down."""
_reserved: Final[set[int]] = set()
"""Ports that this process has reserved."""


def reserve_port() -> int:
    """Return a port without a listener, and reserve it until this process ends.

    Until then this function does not return it to another process of this user, whether its server has started or not.
    Raise `UserError` if no port is free.
    """
    for port in random.sample(_PORTS, len(_PORTS)):
        if port in _reserved or not _lock(port):
            continue
        _reserved.add(port)
        if not is_listening(port):
            return port
    raise UserError(f"no port from {_PORTS[0]} to {_PORTS[-1]} is free: stop servers that you do not need.")


def is_listening(port: int) -> bool:
    """Return True if a server on this machine accepts connections to the port."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def _lock(port: int) -> bool:
    """Lock the byte of that number in the lock file. Return False if another process has reserved the port."""
    try:
        fcntl.lockf(_lock_file(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except (BlockingIOError, PermissionError):  # POSIX allows either
        return False
    return True


@cache
def _lock_file() -> IO[bytes]:
    """Open the lock file of this user. It stays open: closing any handle of it ends all locks."""
    return (Path(tempfile.gettempdir()) / f"lifecycle-ports-{os.getuid()}.lock").open("ab")
