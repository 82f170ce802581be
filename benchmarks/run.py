"""`make bench`: the common job by every peer, interleaved, on one broker; the scenarios of our own worker; the report.

A run of every peer in both modes writes the report of the project; any other run writes a report beside its figures.

python -m benchmarks.run --quick
python -m benchmarks.run --events 200000,1000000 --rounds 5 --peers lifecycle-streams,faust --modes 1s
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import os
import platform
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks import report
from benchmarks.catalogue import PEERS, JvmPeer, Peer, slug
from benchmarks.job import CUSTOMERS
from benchmarks.jvm_trial import JvmTrial, Warming
from benchmarks.kafka import Broker, Cluster
from benchmarks.peers.arguments import MODES
from benchmarks.process import ROOT
from benchmarks.scenarios import __main__ as scenarios
from benchmarks.scenarios.lab import RUNS as SCENARIO_RUNS
from benchmarks.trial import Figures, Trial
from benchmarks.work import Work
from streams.devtools.apache_kafka import VERSION

RESULTS: Final = Path(__file__).parent / "results"
QUICK_EVENTS: Final = 20_000
WARMING: Final = Warming(1_000_000, 3)
"""The JIT needs that many events until the figures are stable."""
RECOVERY_MODE: Final = "1s"
"""The state to recover does not depend on the mode, so recovery is measured in one mode."""


AnyPeer = Peer | JvmPeer


class Plan(NamedTuple):
    """The plan of a run."""

    sizes: list[int]
    customers: int
    rounds: int
    warming: Warming
    modes: list[str]
    peers: list[AnyPeer]


class Results:
    """A file with one JSON line per figure, written at once: measurements stay if a later trial fails."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        self.path = path

    def add(self, row: dict[str, Any]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def machine() -> dict[str, Any]:
    """Return a description of the machine."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = (line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": next(models, "unknown"),
        "cores": os.cpu_count(),
        "memory_gb": round(memory / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "broker": f"Apache Kafka {VERSION}, one node on the same machine, {' '.join(Broker.jvm)}",
    }


def schedule(rounds: int, modes: list[str], peers: list[AnyPeer]) -> Iterator[tuple[int, str, AnyPeer]]:
    """Yield every peer once in each mode, then all again. Each round begins with another peer, so that no peer always
    has the best place."""
    for number in range(rounds):
        turn = number % len(peers)
        for mode in modes:
            for peer in peers[turn:] + peers[:turn]:
                yield number + 1, mode, peer


def run(given: Plan) -> Path:
    """Run all trials and return the file of results."""
    began = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
    results = Results(RESULTS / f"common-{began}.jsonl")
    results.add({"kind": "machine", "began": began, **machine(), "warming": given.warming._asdict()})
    for peer in given.peers:
        described = {"versions": peer.versions, "default_interval": peer.default_interval, "settings": peer.settings}
        results.add({"kind": "peer", "peer": peer.name, **described, "store": peer.store})
    with Broker() as broker, tempfile.TemporaryDirectory(prefix="lifecycle-bench-") as directory:
        cluster = Cluster(broker.address)
        for size in given.sizes:
            work = Work(size, given.customers)
            cluster.warm_up(work.records)
            for number, mode, peer in schedule(given.rounds, given.modes, given.peers):
                broker.check()
                said = {"kind": "trial", "peer": peer.name, "jit": None, "mode": mode, "round": number}
                said |= {"events": size, "customers": given.customers}
                place = Path(directory) / str(size)
                for figures in trial(cluster, work, peer, mode, place, number, given.warming):
                    row = {**said, **figures}
                    results.add(row)
                    print(progress_line(row), flush=True)
                cluster.delete_all()
    return results.path


def trial(
    cluster: Cluster, work: Work, peer: AnyPeer, mode: str, place: Path, number: int, warming: Warming
) -> list[Figures]:
    """One peer's turn. What fails is among the figures: as `error`, or once the job is done as `recovery_error`."""
    one: Trial | JvmTrial
    try:
        if isinstance(peer, JvmPeer):
            one = JvmTrial(cluster, work, peer, mode, place, number)
            rows = [{"jit": jit, **figures} for jit, figures in one.run(warming).items()]
        else:
            one = Trial(cluster, work, peer, mode, place, number)
            rows = [one.run()]
    except Exception as error:
        return [{"error": _reason(error)}]
    if mode == RECOVERY_MODE and peer.store != "none":
        try:
            rows[0] |= one.recover()
        except Exception as error:
            rows[0]["recovery_error"] = _reason(error)
    return rows


def _reason(error: Exception) -> str:
    traceback.print_exception(error)
    return f"{type(error).__name__}: {error}"


def progress_line(row: dict[str, Any]) -> str:
    """Return one line about a trial, printed during the run."""
    name = f"{row['peer']}, {row['jit']}" if row["jit"] else row["peer"]
    head = f"{row['events']:>9} {row['mode']:7} #{row['round']} {name:22} "
    if "error" in row:
        return f"{head}{row['error']}"
    per_event = 1e6 / row["events"]
    text = f"{row['job_cpu_s'] * per_event:7.1f} us/event {row['events'] / row['outputs_s']:9,.0f} events/s"
    text += f" {row['peak_rss_mb']:6.0f} MB"
    if "recovery_s" in row:
        text += f"  recovery {row['recovery_s']:.2f} s"
    if "recovery_error" in row:
        text += f"  recovery: {row['recovery_error']}"
    wrong: str | None = row["differs"] or row.get("recovered_differs")
    return head + text + (f"  DIFFERS: {wrong[:200]}" if wrong else "  outputs equal")


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = {slug(peer.name): peer for peer in PEERS}
    parser.add_argument("--events", default="200000,1000000", help="sizes of the job")
    parser.add_argument("--customers", type=int, default=CUSTOMERS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", default=",".join(known))
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"{QUICK_EVENTS:,} events, one round, three in each JVM (which are not warm by then)",
    )
    parser.add_argument(
        "--scenarios",
        type=int,
        metavar="RUNS",
        help=f"how often each scenario of our own worker is run afterwards; {SCENARIO_RUNS} in a whole run, else 0",
    )
    given = parser.parse_args()
    names, modes = given.peers.split(","), given.modes.split(",")
    if unknown := [name for name in names if name not in known] + [mode for mode in modes if mode not in MODES]:
        parser.error(f"not known: {', '.join(unknown)}")
    plan = Plan(
        sizes=[QUICK_EVENTS] if given.quick else [int(size) for size in given.events.split(",")],
        customers=given.customers,
        rounds=1 if given.quick else given.rounds,
        warming=Warming(2 * QUICK_EVENTS, 1) if given.quick else WARMING,
        modes=modes,
        peers=[known[name] for name in names],
    )
    whole = not given.quick and names == list(known) and modes == list(MODES)
    path = run(plan)
    if runs := (SCENARIO_RUNS if whole else 0) if given.scenarios is None else given.scenarios:
        with Broker() as broker:  # a new one, without the records that the peers left on theirs
            asyncio.run(scenarios.run(broker, runs))
    to = report.REPORT if whole else path.with_suffix(".md")
    report.write([path], to)
    print(f"{to.relative_to(ROOT)} from {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
