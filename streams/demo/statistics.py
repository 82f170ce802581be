"""Statistics of a phase: counts of the outputs received as a subscriber, and figures of the worker's metrics."""

from __future__ import annotations

from collections import Counter, deque
from typing import Any, Final

import msgspec

from streams.demo.scrape import Scrape
from streams.settings import Settings

STAGES: Final = (
    *("visitor", "prospect", "customer", "repeat", "loyal", "advocate"),
    *("reactivated", "dormant", "at_risk", "lapsed"),
)
KINDS: Final = ("browse", "cart", "checkout")
ENDS: Final = ("recovered", "retracted", "expired")
SENT: Final = (
    *("lifecycle_stage_changes_total", "lifecycle_abandonments_total", "lifecycle_recoveries_total"),
    *("lifecycle_retractions_total", "lifecycle_expirations_total", "lifecycle_identity_changes_total"),
    "lifecycle_dead_letters_total",
)
LATEST: Final = 7
"""Number of the latest outputs that are shown."""
MOST: Final = 0.99
"""Share of the events for `Statistics.seconds_to_99_percent`."""
RATE_OVER: Final = 3.0
"""Seconds over which the rate is computed."""


class Statistics:
    """Statistics of one phase. The subscriber and the scraper update them; the screen and the summary read them."""

    def __init__(self, settings: Settings) -> None:
        self._topics = settings
        self.stages: Counter[str] = Counter()
        """Customers in each stage, from the stage changes."""
        self.flows: Counter[tuple[str, str]] = Counter()
        """Stage changes by (from, to), "" where a profile begins or ends."""
        self.abandonments: Counter[tuple[str, str]] = Counter()
        """Outputs by (kind, type): `1`, `2`, `3` for the steps, else `recovered`, `retracted`, `expired`."""
        self.identities: Counter[str] = Counter()
        """Identity outputs by type: `linked`, `switched`, `refused`."""
        self.dead_letters: Counter[str] = Counter()
        """Dead letters by reason."""
        self.latest: deque[tuple[str, str, str]] = deque(maxlen=LATEST)
        """(time of day, customer, what happened), newest last."""
        self.received = 0
        """Number of outputs and dead letters received, without repetitions."""
        self.played = 0
        """Events sent to the input topics."""
        self.outcomes: Counter[str] = Counter()
        """Events by outcome, from the worker's metrics."""
        self.lag = 0
        """Records that the worker has still to apply."""
        self.sent = 0
        """Outputs and dead letters sent, from the worker's metrics."""
        self.watermark_lags: list[float] = []
        """Watermark lags of the partitions, in seconds."""
        self.seconds = 0.0
        """Seconds from the worker's readiness to the last event processed, measured from outside."""
        self.seconds_to_99_percent = 0.0
        """Seconds until 99 % of the events were processed: the rest may wait until a source is caught up."""
        self._ready_at = 0.0
        self._output_ids: set[str] = set()
        self._recent_counts: deque[tuple[float, int]] = deque()

    # -- updates

    def add_output(self, topic: str, value: bytes, headers: dict[str, bytes]) -> None:
        """Count a record of an output topic. Outputs come at least once: a repetition is ignored."""
        if topic == self._topics.dead_letters_topic:
            self.dead_letters[headers["__streams.errors.reason"].decode()] += 1
            self.received += 1
            return
        document = msgspec.json.decode(value)
        if document["id"] in self._output_ids:
            return
        self._output_ids.add(document["id"])
        self.received += 1
        if topic == self._topics.identities_topic:
            text = self._identity(document)
        else:
            text = self._stage_change(document) if document["type"] == "stage_changed" else self._abandonment(document)
        self.latest.append((document["occurred_at"][:19].replace("T", " "), document["customer_id"], text))

    def update_from_metrics(self, scrape: Scrape, at: float) -> None:
        """Take the figures of a scrape made at `at` (seconds of any monotonic clock)."""
        before = self.processed
        for outcome in ("applied", "duplicate", "replayed", "rejected"):
            self.outcomes[outcome] = scrape.total("lifecycle_events_total", outcome=outcome)
        if not self.processed and not scrape.total("lifecycle_ready"):
            self._ready_at = at
        if before < MOST * self.played:
            self.seconds_to_99_percent = at - self._ready_at
        if before < self.played:
            self.seconds = at - self._ready_at
        self.lag = scrape.total("lifecycle_consumer_lag_records")
        self.sent = sum(scrape.total(name) for name in SENT)
        self.watermark_lags = list(scrape.values("lifecycle_watermark_lag_seconds"))
        self._recent_counts.append((at, self.processed))
        while at - self._recent_counts[0][0] > RATE_OVER:
            self._recent_counts.popleft()

    # -- derived figures

    @property
    def processed(self) -> int:
        """Number of events with an outcome."""
        return self.outcomes["applied"] + self.outcomes["duplicate"] + self.outcomes["rejected"]

    @property
    def rate(self) -> float:
        """Events per second, over the last `RATE_OVER` seconds."""
        if len(self._recent_counts) < 2:
            return 0.0
        (start, before), (end, now) = self._recent_counts[0], self._recent_counts[-1]
        return (now - before) / (end - start)

    def count(self, type: str) -> int:
        """Return the number of abandonment outputs of one type, over all kinds."""
        return sum(self.abandonments[kind, type] for kind in KINDS)

    # -- texts of the latest outputs

    def _stage_change(self, document: dict[str, Any]) -> str:
        left, entered = document["from_stage"] or "", document["to_stage"] or ""
        self.flows[left, entered] += 1
        for stage, change in ((left, -1), (entered, 1)):
            if stage:
                self.stages[stage] += change
        gone = "merged" if document["cause"]["kind"] == "merge" else "forgotten"
        return f"{left or 'new'} → {entered or gone}"

    def _identity(self, document: dict[str, Any]) -> str:
        self.identities[document["type"]] += 1
        became = {"linked": "is", "switched": "is now", "refused": "is not"}[document["type"]]
        return f"{became} {document['anonymous_id']}"

    def _abandonment(self, document: dict[str, Any]) -> str:
        kind, type = document["kind"], document["type"]
        self.abandonments[kind, str(document["step"]) if type == "abandoned" else type] += 1
        if type == "abandoned":
            worth = f", {document['value']} {document['currency']}" if float(document["value"] or 0) else ""
            again = {1: "", 2: " again", 3: " a 3rd time"}[document["step"]]
            return f"{kind} abandoned{again}{worth}"
        if type == "recovered":
            return f"{kind} recovered ({document['match']})"
        return f"{kind} {type}" + (f" ({document['reason']})" if type == "retracted" else "")
