"""The scenarios give the same outputs on the harness, on the embedded broker and on Apache Kafka."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from streams.contracts import times
from streams.contracts.native import Decoder
from streams.contracts.outputs import Encoder
from streams.contracts.rejected import Rejected
from streams.core.model.event import Source
from streams.core.model.sources import SourceSpec
from tests.integration.scenarios import SCENARIOS, Scenario, summary
from tests.support.process_cluster import ProcessCluster, wait_until
from tests.support.shop_events import MINUTE, now
from tests.support.single_partition import SinglePartitionHarness

Told = list[tuple[int, str]]


def records(scenario: Scenario, present: int) -> list[tuple[int, Source, dict[str, Any]]]:
    """Return the events of a scenario, with their times and sources."""
    who = "anonymous_id" if scenario.anonymous else "customer_id"
    made = []
    for n, (minutes, event) in enumerate(scenario.events):
        at = present - minutes * MINUTE
        source = Source.ORDERS if event["type"].startswith("order_") else Source.CLICKSTREAM
        made.append((at, source, {"event_id": f"{scenario.name}-{n}", "occurred_at": at, who: scenario.name, **event}))
    return made


def told(documents: list[dict[str, Any]], present: int) -> Told:
    return [((present - times.parse(d["occurred_at"])) // MINUTE, summary(d)) for d in documents]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_single_partition_harness_gives_the_outputs_of_the_scenario(scenario: Scenario) -> None:
    present = now()
    decoders = {source: Decoder(source, source.name.lower()) for source in Source}
    activities, refused = [], []
    for offset, (_, source, fields) in enumerate(records(scenario, present)):
        try:
            value = json.dumps(fields).encode()
            activities.append(decoders[source].decode(value, partition=0, offset=offset, timestamp=present))
        except Rejected as rejected:
            refused.append(rejected.reason)
    outputs = SinglePartitionHarness(present, spec=SourceSpec(backfill_idle=0)).run(*activities, until=present)
    documents = [json.loads(Encoder("/test").encode(output).value) for output in outputs]
    assert told(documents, present) == [*scenario.outputs]
    assert refused == [*scenario.dead_letters]


async def test_workers_on_a_broker_give_the_outputs_of_all_scenarios(
    make_cluster: Callable[..., Awaitable[ProcessCluster]],
) -> None:
    """All scenarios run at once, because customers do not affect each other."""
    present = now()
    cluster = await make_cluster()
    for source, send in ((Source.CLICKSTREAM, cluster.clicks), (Source.ORDERS, cluster.orders)):
        made = [record for scenario in SCENARIOS for record in records(scenario, present) if record[1] is source]
        await send(*(fields for _, _, fields in sorted(made, key=lambda record: record[0])))
    worker = cluster.start_worker()
    await worker.ready()
    expected = {scenario.name: [*scenario.outputs] for scenario in SCENARIOS}

    async def found() -> dict[str, Told]:
        by_customer: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        for document in [*await cluster.stage_changes(), *await cluster.abandonments()]:
            by_customer[document["customer_id"]].append(document)
        return {customer: told(documents, present) for customer, documents in by_customer.items()}

    def sizes(outputs: dict[str, Told]) -> dict[str, int]:
        return {customer: len(each) for customer, each in outputs.items()}

    async def all_there() -> bool:
        return sizes(await found()) == sizes(expected)

    with suppress(AssertionError):  # the comparison below shows what is missing
        await wait_until(all_there, "every output")
    # They are on two topics: within each, the order is that of the scenario.
    outputs = await found()
    assert {customer: sorted(each, reverse=True) for customer, each in outputs.items()} == {
        customer: sorted(each, reverse=True) for customer, each in expected.items()
    }
    for topic in (cluster.stage_changes, cluster.abandonments):
        seen: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        for document in await topic():
            seen[document["customer_id"]].append(document)
        for customer, documents in seen.items():
            here = told(documents, present)
            assert here == [output for output in expected[customer] if output in here], customer
    rejected = {scenario.name: [*scenario.dead_letters] for scenario in SCENARIOS if scenario.dead_letters}

    async def reasons() -> dict[str, list[str]]:
        found: defaultdict[str, list[str]] = defaultdict(list)
        for record in await cluster.read(cluster.settings.dead_letters_topic):
            found[record.key.decode()].append(dict(record.headers)["__streams.errors.reason"].decode())
        return found

    async def all_rejected() -> bool:
        return sum(map(len, (await reasons()).values())) >= sum(map(len, rejected.values()))

    await wait_until(all_rejected, "every dead letter")
    assert await reasons() == rejected
