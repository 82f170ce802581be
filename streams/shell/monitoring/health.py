"""Health of a worker, as `/healthz` and `/readyz` show it: heartbeats of its parts, and reasons for not being ready."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

STUCK_AFTER: Final = 60.0
"""Seconds without a heartbeat after which `/healthz` fails."""


class Health:
    """Liveness and readiness of the worker. The shell reports to it, HTTP reads it. Thread-safe.

    `clock` returns seconds and is monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._heartbeats = {"event_loop": clock()}
        self._reasons = {"recovering"}
        self._recovery: dict[str, Any] | None = None

    def loop_heartbeat(self) -> None:
        """Report that the event loop runs. Called by `LoopLag`."""
        self._beat("event_loop")

    def consumer_heartbeat(self) -> None:
        """Report that the consumer has polled, with or without records or an answer of the broker.

        The consumer is watched from its first heartbeat on: a broker that is away at the start needs no restart.
        """
        self._beat("consumer")

    def consumer_rests(self) -> None:
        """Report that the consumer does not poll until its next heartbeat, on purpose.

        This happens in a rebalance, which lasts as long as the broker is away.
        """
        with self._lock:
            self._heartbeats.pop("consumer", None)

    def recovered(self) -> None:
        """Report that the tables are recovered, for the first time or again; also with no partition assigned."""
        self.clear("recovering")

    def recovery(self, figures: dict[str, Any] | None) -> None:
        """Set the figures of recovery for `/readyz`; None if there is no recovery."""
        with self._lock:
            self._recovery = figures

    def not_ready(self, reason: str) -> None:
        """Let readiness fail while this reason stands (`clock_skew`, `stopping`). A rebalance is no reason."""
        with self._lock:
            self._reasons.add(reason)

    def clear(self, reason: str) -> None:
        """Remove a reason."""
        with self._lock:
            self._reasons.discard(reason)

    def stuck(self) -> dict[str, float]:
        """Return the parts without a heartbeat for `STUCK_AFTER`, with the seconds since; empty if healthy."""
        with self._lock:
            now = self._clock()
            return {what: now - at for what, at in self._heartbeats.items() if now - at >= STUCK_AFTER}

    def reasons(self) -> list[str]:
        """Return the reasons for which the worker is not ready; empty if it is ready."""
        with self._lock:
            return sorted(self._reasons)

    def details(self) -> dict[str, Any]:
        """Return what `/readyz` shows besides the reasons."""
        with self._lock:
            return {"recovery": self._recovery} if "recovering" in self._reasons and self._recovery else {}

    def ready(self) -> bool:
        """Return True if `/readyz` answers 200."""
        return not self.reasons()

    def _beat(self, what: str) -> None:
        with self._lock:
            self._heartbeats[what] = self._clock()


class LoopLag:
    """Measures the lag of the event loop, and reports to `Health` that it runs. `run` is one loop of the worker."""

    def __init__(
        self,
        health: Health,
        *,
        interval: float = 0.5,
        window: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._health = health
        self._interval = interval
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._lags: deque[float] = deque(maxlen=round(window / interval))
        self._due: float | None = None

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            with self._lock:
                self._due = self._clock() + self._interval
            await self._sleep(self._interval)
            with self._lock:
                self._lags.append(self._clock() - self._due)
            self._health.loop_heartbeat()

    def worst(self) -> float:
        """Return the longest lag within the window in seconds, including one under way. Callable from any thread."""
        with self._lock:
            overdue = 0.0 if self._due is None else self._clock() - self._due
            return max(0.0, overdue, *self._lags)
