"""The list of programs. The modules beside this one fill it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from tests.chaos.run import Run
from tests.chaos.verdict import Verdict

Body = Callable[..., Awaitable[Verdict]]


class Program(NamedTuple):
    """One fault of the workers or of their environment."""

    name: str
    says: str
    """A description for readers."""
    body: Body
    short: dict[str, Any]
    """Amounts for the short version, a test."""
    long: dict[str, Any]
    """Amounts for `make chaos`."""
    nodes: int
    """Number of nodes of Apache Kafka. Three are its own, and it may damage them."""
    modes: tuple[str, ...]

    async def run(self, run: Run, amounts: dict[str, Any]) -> Verdict:
        """Run the program."""
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
    """Register a coroutine function in the list, under its name."""

    def enter(body: Body) -> Body:
        name = body.__name__
        PROGRAMS[name] = Program(name, says, body, short, long, nodes, modes)
        return body

    return enter
