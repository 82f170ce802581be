"""A process that produces a shop's live events at a rate, each singly, as by many web servers, with linger 0.

One event in forty is the first of a new customer, and one in forty an order, most of them a first one: so one in twenty
causes a stage change, as in the common job. If events name devices, each customer has one, linked by their first event.
Written on confluent-kafka, whose C does the work: it must not disturb the measurement.
"""

from __future__ import annotations

import argparse
import random
import time
from typing import Any, Final

from confluent_kafka import Producer

NEW_EVERY: Final = 40
ORDER_EVERY: Final = 40

CLICK: Final = (
    '{"event_id":"e-%d","type":"page_viewed","occurred_at":%d,%s,"session_id":"s-%d",'
    '"url":"https://shop.example/category-%d/product-%d","currency":"EUR","properties":{"referrer":"newsletter"}}'
)
ORDER: Final = (
    '{"event_id":"e-%d","type":"order_completed","occurred_at":%d,%s,"order_id":"o-%d",'
    '"total":"12.50","currency":"EUR","properties":{"channel":"web"}}'
)


def producer(broker: str, **settings: Any) -> Producer:
    """Return a producer with the default partitioner of our settings."""
    return Producer({"bootstrap.servers": broker, "partitioner": "murmur2_random", "acks": "all", **settings})


def trickle(broker: str, clickstream: str, orders: str, rate: int, seconds: float, alone: float | None = None) -> None:
    """Produce at the rate, on a fixed schedule: delays are made up for.

    `alone`: share of events that name only a device, while the others name device and customer; None: without devices.
    """
    singly = producer(broker, **{"linger.ms": 0, "batch.num.messages": 1, "queue.buffering.max.messages": 1_000_000})
    draw = random.Random(1)
    began = time.perf_counter()
    for n in range(round(rate * seconds)):
        wait = began + n / rate - time.perf_counter()
        if wait > 0:
            time.sleep(wait)
        now = time.time_ns() // 1_000_000
        newest = n // NEW_EVERY
        customer = newest if n % NEW_EVERY == 0 else draw.randrange(newest + 1)
        key, ids = f"c-{customer}", f'"customer_id":"c-{customer}"'
        if alone is not None:
            device = f'"anonymous_id":"d-{customer}"'
            ids += "," + device
            if n % NEW_EVERY and draw.random() < alone:
                key, ids = f"d-{customer}", device
        if n % ORDER_EVERY == 1:
            topic, value = orders, ORDER % (n, now, ids, n)
        else:
            topic, value = clickstream, CLICK % (n, now, ids, customer, n % 40, n % 2_000)
        singly.produce(topic, value, key=key)
        singly.poll(0)
    left = singly.flush(30)
    took = time.perf_counter() - began
    assert left == 0, f"{left} events were not acknowledged"
    assert took < seconds * 1.05, f"{took:.1f} s for {seconds} s of events: this machine cannot produce {rate}/s"


def main() -> None:
    """Run the process that the scenarios start."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("broker", "clickstream", "orders"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--rate", type=int, required=True, help="events per second")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument(
        "--alone", type=float, help="share of events that name only a device; without it, none names a device"
    )
    given = parser.parse_args()
    trickle(given.broker, given.clickstream, given.orders, given.rate, given.seconds, given.alone)


if __name__ == "__main__":
    main()
