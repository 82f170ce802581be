"""`make chaos`: run the programs, print a verdict for each, and write them to a file of JSON lines.

make chaos                                   all of them, in both modes: hours
make chaos ARGS="--only kills --seed 7"      one of them
make chaos ARGS="--short"                    as the tests run them
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import subprocess
import sys
import tempfile
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from streams.devtools.apache_kafka import ApacheKafka
from streams.errors import UserError
from tests.chaos.catalogue import PROGRAMS
from tests.chaos.programs import MODES, Program
from tests.chaos.run import Run
from tests.chaos.verdict import Verdict
from tests.support.kafka_cluster import KafkaCluster


def carry_out(program: Program, mode: str, seed: int, *, short: bool, keep: Path | None = None) -> Verdict:
    """Run a program once, on brokers of its own. `keep` is a directory for its files, with the logs of workers."""
    with ExitStack() as ends:
        directory = keep or Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="lifecycle-chaos-")))
        directory.mkdir(parents=True, exist_ok=True)
        broker: ApacheKafka | KafkaCluster = KafkaCluster(program.nodes) if program.nodes > 1 else ApacheKafka()
        ends.enter_context(broker)
        run = Run(program.name, mode, seed, broker, directory)
        return asyncio.run(program.run(run, program.short if short else program.long))


def commit(directory: Path) -> str:
    """Return the commit that is checked out, with `-dirty` if files differ from it; empty without git."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    with suppress(OSError):
        return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False).stdout.strip()
    return ""


def main() -> int:
    """Run the chosen programs. Return the exit code: 0 if all verdicts are good."""
    parser = argparse.ArgumentParser(prog="make chaos", description="Harm to a group of workers, with a verdict.")
    parser.add_argument("--only", choices=[*PROGRAMS], action="append", metavar="NAME", help=", ".join(PROGRAMS))
    parser.add_argument("--mode", choices=MODES, action="append", help="by default each that the program is for")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--short", action="store_true", help="as the tests run them")
    parser.add_argument("--out", type=Path, default=Path(".cache/chaos.jsonl"), help="verdicts are added to it")
    parser.add_argument("--keep", type=Path, help="a directory in which the files of the runs stay")
    chosen = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # errors of a broker that was killed are expected
    version = commit(Path(__file__).parent)
    bad = 0
    for program in (PROGRAMS[name] for name in chosen.only or PROGRAMS):
        for mode in (mode for mode in chosen.mode or MODES if mode in program.modes):
            keep = chosen.keep and chosen.keep / f"{program.name}-{mode}-{chosen.seed}"
            try:
                verdict = carry_out(program, mode, chosen.seed, short=chosen.short, keep=keep)
            except (AssertionError, UserError) as error:
                print(f"FAIL {program.name} ({mode}, seed {chosen.seed}): {error}", flush=True)
                bad += 1
                continue
            verdict.commit, verdict.date = version, datetime.now(UTC).date().isoformat()
            print(verdict.sentence(), flush=True)
            chosen.out.parent.mkdir(parents=True, exist_ok=True)
            with chosen.out.open("ab") as file:
                file.write(msgspec.json.encode(verdict) + b"\n")
            bad += not verdict.ok
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
