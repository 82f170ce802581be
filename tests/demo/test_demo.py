"""The demo as a whole, and its processes."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.demo import shop_history
from streams.demo.configuration import environment
from streams.demo.phase import run_beside
from streams.demo.worker_process import WorkerExited, WorkerProcess
from streams.replay import replay
from streams.settings import Settings
from tests.support import machine_requirements

MARK = "DEMO_TEST"
PATIENCE_S = 240.0
"""Longest wait for something that must happen, on a busy machine too."""


def processes_of(mark: str) -> list[int]:
    """Return the processes that have the test's value of `MARK` in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"{MARK}={mark}".encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    value = uuid.uuid4().hex
    yield value
    for pid in processes_of(value):
        os.kill(pid, 9)


def demo(mark: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "streams", "demo", *arguments],
        env=os.environ | {MARK: mark},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_until_gone(mark: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while processes_of(mark):
        assert time.monotonic() < deadline, "a process that the demo started is still running"
        time.sleep(0.1)


# ------------------------------------------------------------------------------------------------------------- whole


@pytest.mark.slow
@pytest.mark.parametrize("broker", [(), ("--broker", "kafka")], ids=["embedded", "kafka"])
def test_demo_once_gives_the_outputs_of_a_replay(tmp_path: Path, mark: str, broker: tuple[str, ...]) -> None:
    if broker:
        with machine_requirements.apache_kafka():
            pass  # this machine can
    before = time.time_ns() // 1_000_000
    running = demo(mark, "--once", *broker)
    output, _ = running.communicate(timeout=PATIENCE_S)
    after = time.time_ns() // 1_000_000
    assert running.returncode == 0, output
    wait_until_gone(mark)
    said = dict(re.findall(r"^([a-z ]+?) {2,}(.*)$", output, re.MULTILINE))
    assert said["events played"].startswith("31,106 of 600 customers")
    assert "applied 31,106, duplicate 0, rejected 0" in said["processed"]
    assert said["dead letters"] == "0"

    # The worker's time ended within the run: its figures lie between those of replays to the start and to the end.
    paths = shop_history.export(shop_history.history(shop_history.locate(), before), tmp_path)
    counts = []
    for until in (before - 60_000, after):
        out = tmp_path / str(until)
        replay.run(Settings(identity_resolution=True), clickstream=paths[:1], orders=paths[1:], out=out, until=until)
        made = [json.loads(line) for line in (out / "abandonments.jsonl").open()]
        steps = sum(output["type"] == "abandoned" and output["step"] == 1 for output in made)
        counts.append((sum(1 for _ in (out / "stage-changes.jsonl").open()), steps))
    found = tuple(int(said[name].split()[0].replace(",", "")) for name in ("stage changes", "abandonments"))
    assert all(least <= figure <= most for least, figure, most in zip(counts[0], found, counts[1], strict=True))


@pytest.mark.slow
def test_ending_the_demo_ends_all_its_processes(mark: str) -> None:
    shop_history.locate()
    for number in (2, 9):
        running = demo(mark, "--once")
        assert running.stdout is not None
        next(line for line in running.stdout if "starting a worker" in line)
        running.send_signal(number)
        running.communicate(timeout=PATIENCE_S)
        assert running.returncode == (130 if number == 2 else -9)
        wait_until_gone(mark)


@pytest.mark.slow
def test_a_broker_that_dies_under_the_shoppers_ends_the_demo_with_a_sentence(mark: str) -> None:
    running = demo(mark)
    assert running.stdout is not None
    next(line for line in running.stdout if line.startswith("Simulated shoppers, live") and " 0 of " not in line)
    (broker,) = (pid for pid in processes_of(mark) if Path(f"/proc/{pid}/exe").readlink().name == "tansu")
    os.kill(broker, 9)
    output, _ = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 2
    assert "lifecycle: the embedded broker was killed by SIGKILL" in output
    wait_until_gone(mark)


# ------------------------------------------------------------------------------------------------------- its processes


async def test_ended_worker_is_reported_with_its_last_line() -> None:
    settings = environment("history", "127.0.0.1:9092", "", own=True) | {"LIFECYCLE_LATENESS": "soon"}
    with pytest.raises(WorkerExited) as raised:
        async with WorkerProcess("history", settings) as worker:
            await asyncio.wait_for(worker.watch(), PATIENCE_S)
    assert str(raised.value).startswith("the demo's worker ended with code 2; its last log lines:\n")
    assert "LIFECYCLE_LATENESS=soon is not a duration" in str(raised.value)


async def test_error_beside_the_body_ends_the_body_and_the_end_of_the_body_cancels_it() -> None:
    cancelled = []

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(True)

    async def broken() -> None:
        raise WorkerExited("gone")

    async with run_beside(endless()):
        await asyncio.sleep(0)
    assert cancelled == [True]
    with pytest.raises(WorkerExited):
        async with run_beside(endless(), broken()):
            await asyncio.Event().wait()
    assert cancelled == [True, True]
