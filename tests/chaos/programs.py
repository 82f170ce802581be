"""The list of programs, which the modules beside this one fill."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from tests.chaos.run import Run
from tests.chaos.verdict import Verdict

Body = Callable[..., Awaitable[Verdict]]


class Program(NamedTuple):
    """One way to harm the workers, or what they stand on."""

    name: str
    says: str
    """What it does, for people."""
    body: Body
    short: dict[str, Any]
    """How much of it for a test."""
    long: dict[str, Any]
    """How much for `make chaos`."""
    nodes: int
    """Of the Apache Kafka it needs. Three are its own, and it may harm them."""
    modes: tuple[str, ...]

    async def run(self, run: Run, amounts: dict[str, Any]) -> Verdict:
        """Carry it out."""
        try:
            verdict = await self.body(run, **amounts)
        finally:
            await run.close()
        verdict.amounts = amounts
        return verdict


MODES = ("at_least_once", "exactly_once")
PROGRAMS: dict[str, Program] = {}


def program(
    says: str, *, short: dict[str, Any], long: dict[str, Any], nodes: int = 1, modes: tuple[str, ...] = MODES
) -> Callable[[Body], Body]:
    """Enter a coroutine function in the list, under its name."""

    def enter(body: Body) -> Body:
        name = body.__name__
        PROGRAMS[name] = Program(name, says, body, short, long, nodes, modes)
        return body

    return enter
