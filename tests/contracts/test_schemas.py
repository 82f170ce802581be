"""Schemas and examples agree with the decoder and the encoder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from streams.contracts.dead_letters import dead_letter
from streams.contracts.native import Decoder
from streams.contracts.outputs import Encoder
from streams.contracts.rejected import REASONS, Rejected
from streams.core.model.currencies import EXPONENTS
from streams.core.model.event import CLICKSTREAM_TYPES, ORDER_TYPES, Event, Source
from streams.core.model.outputs import Output
from tests.contracts.samples import (
    ABANDONED,
    ABANDONMENTS,
    AT,
    IDENTITIES,
    LINKED,
    PROSPECT,
    STAGE_CHANGES,
    TRIGGERED,
    TRIGGERS,
)
from tests.contracts.schema_files import SCHEMAS, TOPICS, VALIDATORS, schema

INPUTS = {"clickstream": Source.CLICKSTREAM, "orders": Source.ORDERS}
OUTPUTS = {
    "lifecycle-stage-changes": STAGE_CHANGES,
    "lifecycle-abandonments": ABANDONMENTS,
    "lifecycle-triggers": TRIGGERS,
    "lifecycle-identities": IDENTITIES,
}
NOT_IN_A_FILE = {"null_value", "too_large", "wrong_partition", "corrupt_batch"}
"""These reasons are about a missing value, a large value, or the record rather than its value."""


def files(pattern: str) -> list[Any]:
    paths = sorted((SCHEMAS / "examples").glob(pattern))
    assert paths, pattern
    return [pytest.param(path, id=str(path.relative_to(SCHEMAS / "examples"))) for path in paths]


def topic_of(path: Path) -> str:
    return path.relative_to(SCHEMAS / "examples").parts[0]


def decoded(topic: str, value: bytes) -> Event | Rejected:
    try:
        return Decoder(INPUTS[topic], topic).decode(value, partition=0, offset=0, timestamp=AT)
    except Rejected as rejected:
        return rejected


def parsed(value: bytes) -> object:
    """Parse as strict JSON, unlike Python. Raises ValueError."""

    def no_number(_: str) -> NoReturn:
        raise ValueError("not in JSON")

    return json.loads(value.decode(), parse_constant=no_number)


# -- the files among themselves


def test_every_topic_has_its_schema_page_and_examples() -> None:
    assert {path.name.removesuffix(".schema.json") for path in (SCHEMAS / "json").iterdir()} == set(TOPICS)
    for topic in TOPICS:
        page = yaml.safe_load((SCHEMAS / "topics" / f"{topic}.yaml").read_text())
        assert page["topic"] == topic
        assert {"direction", "description", "services", "key", "partitioning", "headers"} < set(page)
        (version,) = page["schemas"]
        assert version["resource"] == f"{topic}.schema.json"
        for folder in [*version["examples"], f"{topic}/invalid/"]:
            assert any((SCHEMAS / "examples" / folder).iterdir())


@pytest.mark.parametrize("topic", TOPICS)
def test_schema_files_are_valid_json_schemas(topic: str) -> None:
    Draft202012Validator.check_schema(schema(topic))


def test_definitions_of_the_same_name_are_equal_across_topics() -> None:
    for direction in (INPUTS, set(TOPICS) - set(INPUTS)):
        seen: dict[str, Any] = {}
        for topic in direction:
            for name, definition in schema(topic).get("$defs", {}).items():
                assert seen.setdefault(name, definition) == definition, (topic, name)


def test_closed_sets_are_those_of_the_code() -> None:
    for topic, types in (("clickstream", CLICKSTREAM_TYPES), ("orders", ORDER_TYPES)):
        described = schema(topic)
        assert set(described["properties"]["type"]["examples"]) == types
        assert set(described["$defs"]["currency"]["enum"]) == {*EXPONENTS, None}
    assert set(schema("orders")["if"]["properties"]["type"]["enum"]) == ORDER_TYPES
    headers = schema("lifecycle-dead-letters")["properties"]
    assert headers["__streams.errors.reason"]["enum"] == list(REASONS)
    readme = (SCHEMAS / "README.md").read_text()
    assert [line.split("`")[1] for line in readme.splitlines() if line.startswith("| `")] == list(REASONS)


# -- inputs


@pytest.mark.parametrize("path", [file for topic in INPUTS for file in files(f"{topic}/valid/*")])
def test_valid_input_examples_are_accepted_by_schema_and_decoder(path: Path) -> None:
    topic = topic_of(path)
    VALIDATORS[topic].validate(parsed(path.read_bytes()))
    assert isinstance(decoded(topic, path.read_bytes()), Event)


@pytest.mark.parametrize("path", [file for topic in INPUTS for file in files(f"{topic}/invalid/*.json")])
def test_invalid_input_examples_are_rejected_by_schema_and_decoder(path: Path) -> None:
    topic = topic_of(path)
    assert not VALIDATORS[topic].is_valid(parsed(path.read_bytes()))
    result = decoded(topic, path.read_bytes())
    assert isinstance(result, Rejected)
    assert result.reason == path.name.partition(".")[0]


@pytest.mark.parametrize("path", [file for topic in INPUTS for file in files(f"{topic}/invalid/beyond-schema/*")])
def test_invalid_input_examples_beyond_the_schema_are_rejected_by_the_decoder(path: Path) -> None:
    topic = topic_of(path)
    result = decoded(topic, path.read_bytes())
    assert isinstance(result, Rejected)
    assert result.reason == path.name.partition(".")[0]
    try:
        document = parsed(path.read_bytes())
    except ValueError:
        assert result.reason in {"not_json", "not_utf8"}
    else:
        VALIDATORS[topic].validate(document)


@pytest.mark.parametrize("path", [file for topic in INPUTS for file in files(f"{topic}/tolerated/*.json")])
def test_tolerated_input_examples_are_refused_by_the_schema_and_read_by_the_decoder(path: Path) -> None:
    topic = topic_of(path)
    assert not VALIDATORS[topic].is_valid(parsed(path.read_bytes()))
    assert isinstance(decoded(topic, path.read_bytes()), Event)


def test_every_reason_has_an_example() -> None:
    invalid = [path for topic in INPUTS for path in (SCHEMAS / "examples" / topic / "invalid").rglob("*.*")]
    shown = {path.name.partition(".")[0] for path in invalid}
    assert shown == set(REASONS) - NOT_IN_A_FILE


# Values that satisfy and violate each rule. The decoder must read every record that the schema accepts.
_NUMBERS = [0, 1, 2, -1, 7, 2.0, 2.5, -0.5, 1e-9, 1e11, 1e12, 1e15, 1e30, 1_000_000, 1_000_001, AT, AT / 1000]
_IDS = [
    "",
    "0",
    "-1",
    "c-1",
    "NULL",
    "none",
    "None.",
    "anonymous",
    "undefined",
    " guest ",
    "Guest7",
    "x" * 256,
    "x" * 257,
]
_TYPES = ["page_viewed", "order_completed", "order_refunded"]
_AMOUNTS = ["EUR", "JPY", "eur", "XXX", "ZZZ", "59.90", "1e3", "-5", "1,5", " 1", "NaN", "0.0004", "0.0005"]
_TIMES = [
    "2026-11-21T10:00:00Z",
    "2026-11-21 10:00:00.5+01:00",
    "2026-11-21",
    "2026-11-21T10:00:00",
    "1979-12-31T23:59:59Z",
]
_LISTS: list[Any] = [
    [],
    [{}],
    [None],
    ["c-1"],
    [{"price": -1}],
    [{"price": "2.5", "quantity": 2}],
    [{"quantity": 0}],
    [{"quantity": "2.50"}],
]
_LISTS += [[{"product_id": 1, "category": "shoes", "color": []}], [{"product_id": True}], [{"category": 1}]]
_VALUES = st.sampled_from([None, True, False, {}, *_NUMBERS, *_IDS, *_TYPES, *_AMOUNTS, *_TIMES, *_LISTS])
_FIELDS = sorted({name for topic in INPUTS for name in schema(topic)["properties"]})
_RECORDS = st.fixed_dictionaries({}, optional=dict.fromkeys(_FIELDS, _VALUES))
_MENDED = st.builds(
    lambda record, faults: (
        {"type": "order_completed", "occurred_at": AT, "customer_id": "c-1", "order_id": 1}
        | dict(list(record.items())[:faults])
    ),
    _RECORDS,
    st.integers(0, 3),
)


def _apart(record: dict[str, Any]) -> bool:
    """Return True if a schema cannot express the rule: integral floats are integers to it, and bounds are not in minor
    units."""
    ids = [record.get(name) for name in _FIELDS if name.endswith("_id")]
    amounts = [record.get("price"), record.get("total")]
    return any(isinstance(value, float) for value in ids) or any(
        isinstance(value, int | float) and value >= 1e11 for value in amounts
    )


@given(record=_RECORDS | _MENDED)
def test_decoder_reads_what_the_schema_accepts(record: dict[str, Any]) -> None:
    if _apart(record):
        return
    for topic in INPUTS:
        result = decoded(topic, json.dumps(record).encode())
        if not isinstance(result, Rejected) or result.reason != "clock_skew":
            assert isinstance(result, Event) or not VALIDATORS[topic].is_valid(record), result


# -- outputs


@pytest.mark.parametrize("topic", OUTPUTS)
def test_every_kind_of_output_has_an_example(topic: str) -> None:
    assert {path.stem for path in (SCHEMAS / "examples" / topic / "valid").iterdir()} == set(OUTPUTS[topic])


@pytest.mark.parametrize(
    ("topic", "name", "output"),
    [(topic, name, output) for topic, samples in OUTPUTS.items() for name, output in samples.items()],
)
def test_encoded_outputs_equal_their_examples(topic: str, name: str, output: Output) -> None:
    value = Encoder().encode(output).value
    VALIDATORS[topic].validate(parsed(value))
    example = (SCHEMAS / "examples" / topic / "valid" / f"{name}.json").read_bytes()
    assert json.dumps(parsed(value)) == json.dumps(parsed(example)), "fields, values and their order"


@pytest.mark.parametrize("path", files("lifecycle-*/valid/*"))
def test_valid_output_examples_are_valid_by_the_schema(path: Path) -> None:
    VALIDATORS[topic_of(path)].validate(parsed(path.read_bytes()))


@pytest.mark.parametrize("path", files("lifecycle-*/invalid/*"))
def test_invalid_output_examples_are_invalid_by_the_schema(path: Path) -> None:
    assert not VALIDATORS[topic_of(path)].is_valid(parsed(path.read_bytes()))


def test_no_output_schema_lets_an_undocumented_field_pass() -> None:
    def objects(node: Any) -> list[dict[str, Any]]:
        if isinstance(node, list):
            return [found for each in node for found in objects(each)]
        if not isinstance(node, dict):
            return []
        return [node] * (node.get("type") == "object") + objects(list(node.values()))

    for topic in set(TOPICS) - set(INPUTS):
        free = [node for node in objects(schema(topic)) if node.get("additionalProperties") is not False]
        assert [node["description"] for node in free] == (
            ["The data that the playbook adds."] if topic == "lifecycle-triggers" else []
        )


@pytest.mark.parametrize(
    ("topic", "output"),
    [
        ("lifecycle-stage-changes", PROSPECT),
        ("lifecycle-abandonments", ABANDONED),
        ("lifecycle-triggers", TRIGGERED),
        ("lifecycle-identities", LINKED),
    ],
)
def test_headers_of_outputs_are_those_documented(topic: str, output: Output) -> None:
    page = yaml.safe_load((SCHEMAS / "topics" / f"{topic}.yaml").read_text())
    headers = dict(Encoder().encode(output).headers)
    assert list(page["headers"]) == list(headers)
    assert headers["ce_type"].decode() in page["headers"]["ce_type"]


@pytest.mark.parametrize("value", [b"{}", b"x" * 2_000_000])
def test_headers_of_dead_letters_are_those_documented(value: bytes) -> None:
    rejected = Rejected("too_large", "2000000 bytes, more than 262144")
    letter = dead_letter(rejected, key=None, value=value, timestamp=AT, topic="orders", partition=0, offset=1)
    headers = {name: content.decode() for name, content in letter.headers}
    VALIDATORS["lifecycle-dead-letters"].validate(headers)
    page = yaml.safe_load((SCHEMAS / "topics" / "lifecycle-dead-letters.yaml").read_text())
    assert list(page["headers"])[: len(headers)] == list(headers)
