"""Workers in exactly-once mode that end or stop at a chosen step of a transaction, and workers with disabled guards."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Collection
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from streams.settings import load
from streams.shell.commit.changelog import Changelog
from streams.shell.commit.exactly_once import ExactlyOnce, TransactionalOutput
from streams.shell.commit.outbox import Outbox
from streams.shell.worker.command import run
from streams.transport.driver import Consumer, ConsumerThread
from streams.transport.transactions import TransactionalProducer

STEPS = ("begun", "changelog", "outputs", "offsets", "settled", "ending", "committed")
"""The transaction has begun; the broker has the changelog, the outputs, the offsets, all of it; the end is under way;
the broker has the end."""


def program(
    step: str = "", *, commits: int = 1, stops: bool = False, uncommitted: bool = False, fences_after: str = ""
) -> str:
    """Return a program for `ProcessCluster.start_worker`. See `main`."""
    arguments = f"{step!r}, {commits}, {stops}, {uncommitted}, {fences_after!r}"
    return f"from tests.integration import transaction_faults; transaction_faults.main({arguments})"


def main(step: str, commits: int, stops: bool, uncommitted: bool, fences_after: str) -> None:
    """Run a worker that kills or stops itself at a step of the n-th commit with outputs. If it can still commit after
    that, it kills itself then.

    `uncommitted`: it reads records that may be aborted. `fences_after`: it fences nobody before this file exists, and
    reads before. When it has read, it creates a file with `.read` behind that name.
    """
    if step:
        _signal_at(step, commits, signal.SIGSTOP if stops else signal.SIGKILL)
    if uncommitted:
        _read_uncommitted()
    if fences_after:
        _fence_late(Path(fences_after))
    sys.exit(run(load()))


def _signal_at(step: str, commits: int, number: signal.Signals) -> None:
    armed: ContextVar[bool] = ContextVar("armed", default=False)
    seen = 0

    def reached(at: str) -> None:
        if at == step and armed.get():
            os.kill(os.getpid(), number)
        if at == "committed" and armed.get():
            os.kill(os.getpid(), signal.SIGKILL)

    def after(owner: Any, name: str, at: str) -> None:
        original = getattr(owner, name)

        async def wrapped(*args: Any, **kwargs: Any) -> Any:
            result = await original(*args, **kwargs)
            reached(at)
            return result

        setattr(owner, name, wrapped)

    transaction: Any = TransactionalOutput._transaction

    async def counted(self: Any, commit: Any) -> Any:
        nonlocal seen
        if self._outbox._waiting:
            seen += 1
            armed.set(seen == commits)
        return await transaction(self, commit)

    commit_transaction = TransactionalProducer.commit_transaction

    async def ending(self: Any) -> None:
        reached("settled")
        end = asyncio.ensure_future(commit_transaction(self))
        await asyncio.sleep(0.001)
        reached("ending")
        await end
        reached("committed")

    target: Any = TransactionalOutput
    target._transaction = counted
    after(TransactionalProducer, "begin_transaction", "begun")
    after(Changelog, "write", "changelog")
    after(Outbox, "settled", "outputs")
    after(TransactionalProducer, "send_offsets", "offsets")
    TransactionalProducer.commit_transaction = ending


def _read_uncommitted() -> None:
    thread: Any = ConsumerThread
    create: Callable[..., Any] = thread._create_worker_consumer

    def uncommitted(self: Any, transport: Any) -> Any:
        consumer = create(self, transport)
        consumer._isolation_level = "read_uncommitted"
        return consumer

    thread._create_worker_consumer = uncommitted


def _fence_late(go: Path) -> None:
    """Read the state and the committed offsets first, and fence the predecessor after that."""
    guarantee: Any = ExactlyOnce
    fence = guarantee.assigned
    assigned: list[Collection[int]] = []

    def remember(self: Any, partitions: Collection[int]) -> None:
        assigned[:] = [partitions]

    async def not_yet(self: Any) -> None:
        """Let recovery go on at once."""

    async def fenced_at_last(self: Any) -> None:
        while not go.exists():
            await asyncio.sleep(0.05)
        fence(self, assigned[0])
        await self._transactions.fenced()

    committed_offsets = Consumer.committed_offsets

    async def read_then_fence(self: Any, tps: Any) -> Any:
        found = await committed_offsets(self, tps)
        go.with_suffix(".read").touch()
        await fenced_at_last(self.app.guarantee)
        return found

    guarantee.assigned, guarantee.fenced = remember, not_yet
    consumer: Any = Consumer
    consumer.committed_offsets = read_then_fence
