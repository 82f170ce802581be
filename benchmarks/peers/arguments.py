"""The command line of every peer, and the line by which it reports that it is about to begin."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

MODES = ("default", "1s")
"""`default`: the peer's own commit interval; `1s`: it commits every second."""


class Arguments(NamedTuple):
    """The command line of a peer."""

    bootstrap: str
    """host:port of the broker"""
    input: str
    output: str
    """topics with 4 partitions each; both exist"""
    group: str
    """consumer group or application id: new for each run, the same when it is restarted"""
    events: int
    """number of events on the input topic, for peers that use it"""
    mode: str
    state_dir: Path
    """a directory for the peer's files, created by the caller"""

    def interval(self, default: float) -> float:
        """Return the seconds between commits; `default` is the peer's own interval."""
        return 1.0 if self.mode == "1s" else default


def parse(description: str | None) -> Arguments:
    """Return the arguments of the command line. Called first by each peer."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("bootstrap", "input", "output", "group"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--mode", choices=MODES, required=True)
    parser.add_argument("--state-dir", type=Path, required=True)
    return Arguments(**vars(parser.parse_args()))


def command(arguments: Arguments) -> list[str]:
    """Return the command line for the arguments, for the process that starts a peer."""
    return [f"--{name.replace('_', '-')}={value}" for name, value in arguments._asdict().items()]


def ready() -> None:
    """Report readiness. Called after imports and construction, before the first poll: the job is measured from here."""
    print("ready", flush=True)
