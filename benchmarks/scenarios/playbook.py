"""The cost of a playbook: CPU per event of the core alone, with the shipped default and with 100 rules more.

One process, alternating; no broker.
"""

from __future__ import annotations

import gc
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks import job
from benchmarks.scenarios import shop
from benchmarks.scenarios.lab import arguments, report
from streams import playbooks
from streams.contracts.native import Decoder
from streams.core.lifecycle.lifecycle import Lifecycle
from streams.core.lifecycle.playbook import Playbook
from streams.core.model.counters import EngineCounters
from streams.core.model.event import Event, Source
from streams.core.model.outputs import Output
from streams.core.profile.profile import Profile

EVENTS: Final = 100_000
SUBJECTS: Final = (
    "product_viewed", "product_added", "product_removed", "cart_viewed", "checkout_started", "order_completed",
    "page_viewed", "message_opened", "message_clicked", "product_reviewed",
)  # fmt: skip
"""Subjects of the hundred rules."""


def hundred() -> str:
    """Return the default playbook with 100 more rules in its track, in every stage, on events, orders and windows."""
    text = Path(playbooks.__file__).with_name("ecommerce.yaml").read_text()
    head, marker, tail = text.partition("      # all orders were cancelled or refunded\n")
    assert marker
    rows = []
    for n in range(100):
        subject = SUBJECTS[n % len(SUBJECTS)]
        if n % 10 == 7:
            rule = f"orders(last='{30 + n}d') >= {50 + n} and spend(last='365d') >= {100_000 + n}"
        elif n % 10 == 3:
            rule = f"count('{subject}', last='7d') >= {10_000 + n}"
        else:
            rule = f"count('{subject}') >= {100_000 + n} and (revenue > {n} or sessions >= {n})"
        rows.append(f'      - {{from: any, to: stage-{n % 10}, when: "{rule}"}}\n')
    return head + "".join(rows) + marker + tail


def activities(number: int) -> list[Event]:
    """Return decoded events of some days of a shop."""
    decoders = {source: Decoder(source, "t", default_currency="EUR", max_future_skew=1 << 60) for source in Source}
    found = []
    for offset, event in enumerate(shop.mix(number, job.CUSTOMERS // 10)):
        source = Source.ORDERS if event.order else Source.CLICKSTREAM
        found.append(decoders[source].decode(event.value, partition=0, offset=offset, timestamp=event.at))
    return found


def cpu_us(playbook: Playbook, events: Sequence[Event]) -> tuple[float, int]:
    """Return the CPU per event, us, and the number of outputs."""
    lifecycle = Lifecycle(playbook)
    profiles: dict[str, Profile] = {}
    outputs: list[Output] = []
    counts: EngineCounters = Counter()
    gc.collect()
    began = time.process_time()
    for event in events:
        profile = profiles.get(event.customer)
        if profile is None:
            profiles[event.customer] = profile = lifecycle.new(event.customer, event.identified)
        elif lifecycle.is_duplicate(profile, event):
            continue
        while (due := profile.next_deadline) is not None and due <= event.at:
            lifecycle.fire(profile, outputs, counts)
        lifecycle.apply(profile, event, outputs, counts)
    return (time.process_time() - began) / len(events) * 1e6, len(outputs)


def run(runs: int, number: int = EVENTS) -> None:
    """Measure and report, interleaved."""
    events = activities(number)
    contenders = {"default": playbooks.load(), "100 rules": playbooks.parse(hundred())}
    measured: dict[str, list[float]] = {name: [] for name in contenders}
    outputs: dict[str, int] = {}
    for _ in range(runs):
        for name, playbook in contenders.items():
            us, outputs[name] = cpu_us(playbook, events)
            measured[name].append(us)
    assert len(set(outputs.values())) == 1, f"not the same work: {outputs}"
    for name, values in measured.items():
        report("playbook", f"CPU per event in the core, {name}, {len(events)} events", values, "us")
    default, many = (measured[name] for name in contenders)
    report(
        "playbook", "100 rules against the default playbook", [a / b for a, b in zip(many, default, strict=True)],
        "times", "<= 3",
    )  # fmt: skip


if __name__ == "__main__":
    given = arguments(events=EVENTS)
    run(given.runs, given.events)
