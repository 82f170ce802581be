"""The Python peers give the outputs of the oracle, without a broker."""

from __future__ import annotations

import json
import pickle
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.job import TYPES, differences, events, oracle
from benchmarks.peers import aiokafka_loop, arguments, bytewax_store, ours, plain
from benchmarks.peers.arguments import Arguments
from benchmarks.work import Work
from streams.contracts.native import Decoder
from streams.contracts.outputs import Encoder
from streams.core.engine.partition_engine import PartitionEngine
from streams.core.lifecycle.lifecycle import Lifecycle
from streams.core.model.event import Source
from streams.core.model.sources import Fetch

NUMBER = 20_000
CUSTOMERS = 500


@pytest.fixture(scope="module")
def work() -> Work:
    return Work(NUMBER, CUSTOMERS)


def by_customer(outputs: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for output in outputs:
        found.setdefault(output["customer"], []).append(output)
    return found


def test_loops_give_the_outputs_of_the_oracle(work: Work) -> None:
    states: dict[str, plain.State] = {}
    outputs = [output for _, value in work.records for output in aiokafka_loop.process(states, value)]
    assert all(json.loads(value)["customer"] == key.decode() for key, value in outputs)
    assert differences(work.expected, by_customer([json.loads(value) for _, value in outputs])) is None
    assert work.outputs == len(outputs) > CUSTOMERS


def test_state_restored_from_json_continues(work: Work) -> None:
    states: dict[str, plain.State] = {}
    outputs = []
    for n, (_, value) in enumerate(work.records):
        if n == NUMBER // 2:
            states = json.loads(json.dumps(states))
        outputs += aiokafka_loop.process(states, value)
    assert differences(work.expected, by_customer([json.loads(value) for _, value in outputs])) is None


@given(st.lists(st.sampled_from(list(TYPES)), max_size=40))
def test_any_history_of_a_customer_gives_the_oracles_stages(kinds: list[str]) -> None:
    state = plain.new()
    outputs = [output for n, kind in enumerate(kinds) for output in plain.step(state, "c1", kind, n, "p1", 1)]
    values = [
        {"type": kind, "customer_id": "c1", "occurred_at": n, "product_id": "p1", "quantity": 1}
        for n, kind in enumerate(kinds)
    ]
    assert outputs == oracle(iter([(b"c1", json.dumps(value).encode()) for value in values])).get("c1", [])
    assert state["last_seen"] == max(0, len(kinds) - 1)
    assert state["counts"] == {kind: kinds.count(kind) for kind in TYPES}


def test_the_cart_holds_what_was_added_and_neither_removed_nor_ordered() -> None:
    state = plain.new()
    for kind, product, quantity in (
        ("product_added", "p1", 1),
        ("product_added", "p1", 2),
        ("product_added", "p2", 1),
        ("product_removed", "p2", 1),
        ("product_removed", "p3", 1),
    ):
        plain.step(state, "c1", kind, 0, product, quantity)
    assert state["cart"] == {"p1": 3}
    plain.step(state, "c1", "order_completed", 0, "p1", 1)
    assert state["cart"] == {}


def test_engine_with_the_playbook_of_the_job_gives_the_outputs_of_the_oracle(work: Work) -> None:
    decoder = Decoder(Source.CLICKSTREAM, "events")
    encoder = Encoder()
    engine = PartitionEngine(Lifecycle(ours.PLAYBOOK))
    now = 1_800_000_000_000
    activities: list[Any] = [
        decoder.decode(value, partition=0, offset=offset, timestamp=now)
        for offset, (_, value) in enumerate(work.records)
    ]
    at_once = engine.ingest(Source.CLICKSTREAM, activities, NUMBER, now)
    drained = engine.advance(now, {Source.CLICKSTREAM: Fetch(now, NUMBER), Source.ORDERS: Fetch(now, 0)})
    outputs = [encoder.encode(output).value for output in (*at_once.outputs, *drained.outputs)]
    assert differences(work.expected, by_customer([ours.as_output(value) for value in outputs])) is None


# -- what a trial adds


def test_first_orders_are_one_per_partition_and_make_one_output_each(work: Work) -> None:
    assert len(work.first_orders) == 4
    after = work.expected_with_orders
    changed = [customer for customer in after if after[customer] != work.expected[customer]]
    assert sorted(changed) == sorted(key.decode() for key, _ in work.first_orders)
    for customer in changed:
        *before, last = after[customer]
        assert before == work.expected[customer]
        assert (last["to"], last["sequence"]) == ("customer", len(before) + 1)


def test_second_orders_make_one_output_each_after_the_first_ones(work: Work) -> None:
    first = oracle(iter(work.first_orders))
    both = oracle(iter([*work.first_orders, *work.second_orders]))
    assert {customer: len(outputs) for customer, outputs in both.items()} == {
        customer: len(outputs) + 1 for customer, outputs in first.items()
    }


# -- command lines and output lines


def test_command_line_round_trips(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    meant = Arguments("127.0.0.1:9092", "in", "out", "group", 20_000, "1s", tmp_path)
    monkeypatch.setattr(sys, "argv", ["peer", *arguments.command(meant)])
    assert arguments.parse(None) == meant
    assert meant.interval(5.0) == 1.0
    assert meant._replace(mode="default").interval(5.0) == 5.0


def test_bytewax_is_as_far_as_its_last_closed_epoch(tmp_path: Path) -> None:
    meant = Arguments("", "in", "out", "group", 1, "1s", tmp_path)
    assert bytewax_store.committed(meant) == 0
    (tmp_path / bytewax_store.DIRECTORY).mkdir()
    with sqlite3.connect(tmp_path / bytewax_store.DIRECTORY / "part-0.sqlite3") as database:
        database.execute("CREATE TABLE fronts (worker_frontier INTEGER)")
        database.execute("CREATE TABLE snaps (step_id TEXT, state_key TEXT, snap_epoch INTEGER, ser_change BLOB)")
        for step, key, epoch, value in (
            ("job.events.kafka_input", "0-in", 1, 10),
            ("job.events.kafka_input", "0-in", 2, 20),
            ("job.events.kafka_input", "0-in", 3, 30),
            ("job.events.kafka_input", "1-in", 1, 5),
            ("job.events.kafka_input", "2-in", 2, -2),
            ("job.lifecycle.stateful", "c1", 1, 1000),
        ):
            database.execute("INSERT INTO snaps VALUES (?, ?, ?, ?)", (step, key, epoch, pickle.dumps(value)))
        assert database.execute("INSERT INTO fronts VALUES (3)").rowcount == 1
        database.commit()
    assert bytewax_store.committed(meant) == 25


def test_the_events_of_a_job_are_those_of_the_generator(work: Work) -> None:
    assert work.records == list(events(NUMBER, CUSTOMERS))
