"""What every peer is told, and how it says that it is about to begin."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

MODES = ("default", "1s")
"""`default`: as often durable as the peer is by default; `1s`: it commits every second."""


class Arguments(NamedTuple):
    """The command line of a peer."""

    bootstrap: str
    """host:port of the broker"""
    input: str
    output: str
    """topics, of 4 partitions each; both are there"""
    group: str
    """consumer group or application id: new for each run, the same when it is restarted"""
    events: int
    """how many there are on the input topic; for those that want to know"""
    mode: str
    state_dir: Path
    """a directory for the peer's files, made by who starts it"""

    def interval(self, default: float) -> float:
        """Seconds between commits; `default` is the peer's own."""
        return 1.0 if self.mode == "1s" else default


def parse(description: str | None) -> Arguments:
    """Called first by each peer."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("bootstrap", "input", "output", "group"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--mode", choices=MODES, required=True)
    parser.add_argument("--state-dir", type=Path, required=True)
    return Arguments(**vars(parser.parse_args()))


def command(arguments: Arguments) -> list[str]:
    """The other way round, for who starts a peer."""
    return [f"--{name.replace('_', '-')}={value}" for name, value in arguments._asdict().items()]


def ready() -> None:
    """Called once all is imported and constructed, before the first poll: from here on the job is measured."""
    print("ready", flush=True)
