"""Faults of the state directory: no room, and files that are missing or damaged."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from pathlib import Path

from tests.chaos.crew import Crew
from tests.chaos.history import parts
from tests.chaos.programs import program
from tests.chaos.run import Run
from tests.chaos.verdict import Verdict
from tests.support.process_cluster import wait_until
from tests.support.small_disk import mount, small_disk

SMALL_FILES = """
import resource
from streams.transport import rocks
rocks.WRITE_BUFFER_BYTES, rocks.FILE_BYTES = 64 << 10, 32 << 10
{limit}
from streams.cli import main
main(["worker"])
"""
"""A worker whose RocksDB writes files early: otherwise all data of a short run would stay in memory."""
DAMAGE_FOUND = "Damaged files are deleted at the next start"
LIMIT = "resource.setrlimit(resource.RLIMIT_FSIZE, (16 << 10, resource.RLIM_INFINITY))"


@program("a full disk on the state directory", short={"refusals": 2}, long={"refusals": 12})
async def disk_full(run: Run, *, refusals: int) -> Verdict:
    """A worker on a disk of 512 KB (without root: with files of 16 KiB at most) ends again and again, until there is
    room. Another worker, with room, has the other partitions."""
    await run.application(state_store="rocksdb")
    events = run.sessions(customers=1_000, sessions=3_000)
    await run.open(events)
    crew = run.crew(2, program=SMALL_FILES.format(limit=""))
    with small_disk(crew.directory(0)) as mounted:
        if not mounted:
            crew.programs[0] = SMALL_FILES.format(limit=LIMIT)
        async with crew.kept(pause=1.0):
            await run.pour(events, 5.0)
            await wait_until(lambda: refused(run) >= refusals, "workers that end for want of room", 30.0 * refusals)
            minima = {"that ended with the sentence for it": (refused(run), refusals)}
            if mounted:
                assert mount("-o", "remount,size=1g", str(crew.directory(0)))
            crew.programs[0] = SMALL_FILES.format(limit="")
            disk = "tmpfs of 512 KB" if mounted else "RLIMIT_FSIZE"
            return await run.judge({"refusals": refusals}, minima=minima, ends={1: 2 * refusals}, disk=disk)


def refused(run: Run) -> int:
    """Return how many workers have ended for want of room."""
    logs = [worker.log.read_text() for worker in run.cluster.workers if worker.process.poll() is not None]
    return sum("cannot be read or written" in log or "No space left" in log for log in logs)


@program("RocksDB files deleted or damaged", short={"damages": 4}, long={"damages": 30})
async def disk_damaged(run: Run, *, damages: int) -> Verdict:
    """A worker is stopped or killed, its files are damaged, and it starts with them: bad files are read again from
    Kafka."""
    await run.application(state_store="rocksdb")
    events = run.sessions(sessions=400 * damages)
    await run.open(events)
    # A damaged file that no one has read yet may be found by the last commit of a worker that is being stopped.
    crew = run.crew(2, program=SMALL_FILES.format(limit=""), fault=DAMAGE_FOUND)
    done: list[str] = []
    async with crew.kept():
        await asyncio.sleep(1)
        for n, part in enumerate(parts(events, damages)):
            slot = n % 2
            await processing(crew, slot)
            await run.pour(part, 2.0)
            crew.closed.add(slot)
            if slot in crew.running():
                if run.rng.random() < 0.5:
                    crew.kill(slot)
                else:
                    await crew.terminate(slot)
            done.append(damage(crew.directory(slot) / "state", run.rng))
            crew.closed.clear()
        await processing(crew, 0)
        read = sum("the changelog contains all of" in worker.log.read_text() for worker in run.cluster.workers)
        kinds = {kind: done.count(kind) for kind in done}
        minima = {"found": (read, max(1, damages // 4))}
        return await run.judge({"damages": damages}, minima=minima, ends={1: 2 * damages}, kinds=kinds)


async def processing(crew: Crew, slot: int) -> None:
    """Wait until the worker of a slot processes. The first one may find the damage and end."""

    def check() -> bool:
        worker = crew.workers[slot]
        return worker is not None and worker.get("/readyz")[0] == 200

    await wait_until(check, "a ready worker")


def damage(state: Path, rng: random.Random) -> str:
    """Damage the files of one partition or of all. Return how."""
    databases = [path for path in state.glob("*/*") if path.is_dir()]
    if not databases or rng.random() < 0.15:
        shutil.rmtree(state, ignore_errors=True)
        return "all deleted"
    way = rng.choice(["files deleted", "bytes flipped", "files cut"])
    for database in databases:
        files = sorted(path for path in database.iterdir() if path.suffix == ".sst" or path.name.startswith("MANIFEST"))
        for file in rng.sample(files, min(len(files), 3)):
            if way == "files deleted":
                file.unlink()
            elif way == "files cut":
                os.truncate(file, file.stat().st_size // 2)
            else:
                _flip(file, rng)
    return way


def _flip(file: Path, rng: random.Random) -> None:
    data = bytearray(file.read_bytes())
    for _ in range(8):
        if data:
            data[rng.randrange(len(data))] ^= 0xFF
    file.write_bytes(data)
