"""Settings from environment and file. Every mistake is reported in one sentence with the remedy."""

from __future__ import annotations

import dataclasses
import uuid
from pathlib import Path

import pytest

from streams import values
from streams.cli import listing
from streams.errors import UserError
from streams.settings import FIELDS, PREFIX, Settings, load, load_with_origins

ROOT = Path(__file__).parents[2]


def test_defaults_apply_without_environment_and_file() -> None:
    assert load({}) == Settings()
    assert load({"PATH": "/bin", "LIFECYCLE_LATENESS": " "}) == Settings()


def test_settings_are_read_from_the_environment() -> None:
    settings = load(
        {
            "LIFECYCLE_BROKER": "kafka://a:9092,b:9093",
            "LIFECYCLE_LATENESS": "1h30m",
            "LIFECYCLE_MAX_EMIT_DELAY": "off",
            "LIFECYCLE_ORDERS_IDLE_TIMEOUT": "2h",
            "LIFECYCLE_EMIT_AFTER": "2026-11-21T10:00:00Z",
            "LIFECYCLE_PROFILES": "on",
            "LIFECYCLE_WEB_PORT": "0",
            "LIFECYCLE_MAX_BUFFER_BYTES": "1MiB",
            "LIFECYCLE_ID_NAMESPACE": "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        }
    )
    assert settings == Settings(
        broker="a:9092,b:9093",
        lateness=5_400_000,
        max_emit_delay=None,
        orders_idle_timeout=7_200_000,
        emit_after=1_795_255_200_000,
        profiles=True,
        web_port=0,
        max_buffer_bytes=1 << 20,
        id_namespace=uuid.UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
    )


def test_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "lifecycle.toml"
    file.write_text(
        'broker = ["a:1", "b:2"]\nlateness = "1m"\nemit_after = 2026-11-21T10:00:00Z\nprofiles = true\n'
        'max_emit_delay = false\npartitions = 12\norders_delay = "3s"\n'
    )
    environ = {"LIFECYCLE_CONFIG": str(file), "LIFECYCLE_LATENESS": "2m", "LIFECYCLE_ORDERS_DELAY": ""}
    settings, origins = load_with_origins(environ)
    assert settings == Settings(
        broker="a:1,b:2",
        lateness=120_000,
        emit_after=1_795_255_200_000,
        profiles=True,
        max_emit_delay=None,
        partitions=12,
        orders_delay=3_000,
    )
    assert origins["lateness"] == "LIFECYCLE_LATENESS"
    assert origins["orders_delay"] == str(file)
    assert "currency" not in origins


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("LIFECYCLE_LATENES", "1m", "LIFECYCLE_LATENES is not a setting: did you mean LIFECYCLE_LATENESS?"),
        ("LIFECYCLE_broker", "a:1", "LIFECYCLE_broker is not a setting"),
        ("LIFECYCLE_XYZZY", "1", "LIFECYCLE_XYZZY is not a setting: `lifecycle settings` lists all of them."),
        ("LIFECYCLE_LATENESS", "10", "LIFECYCLE_LATENESS=10 is not a duration: write a number and a unit"),
        ("LIFECYCLE_WEB_PORT", "65536", "LIFECYCLE_WEB_PORT=65536 is not a whole number from 0 to 65535."),
        ("LIFECYCLE_PARTITIONER", "md5", "LIFECYCLE_PARTITIONER=md5 is not murmur2 or crc32."),
        ("LIFECYCLE_PROCESSING_GUARANTEE", "at_most_once", "is not at_least_once or exactly_once."),
        ("LIFECYCLE_HEARTBEAT_INTERVAL", "4s", "INTERVAL=4s is more than a third of LIFECYCLE_SESSION_TIMEOUT=10s"),
        ("LIFECYCLE_ORDERS_TOPIC", "clickstream", "LIFECYCLE_ORDERS_TOPIC and LIFECYCLE_CLICKSTREAM_TOPIC are both"),
    ],
)  # fmt: skip
def test_mistake_in_the_environment_is_reported(variable: str, value: str, sentence: str) -> None:
    with pytest.raises(UserError) as raised:
        load({variable: value})
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('latenes = "1m"', "latenes in {file} is not a setting: did you mean lateness?"),
        ('lateness = "1"', "lateness = '1' in {file} is not a duration"),
        ("lateness = 1.5", "lateness in {file} is a float: write a text, such as '1m'."),
        ("[lateness]", "lateness in {file} is a dict"),
        ("lateness", "LIFECYCLE_CONFIG={file} is not TOML"),
    ],
)
def test_mistake_in_the_file_is_reported(tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "lifecycle.toml"
    file.write_text(text)
    with pytest.raises(UserError) as raised:
        load({"LIFECYCLE_CONFIG": str(file)})
    assert sentence.format(file=file) in str(raised.value)


def test_missing_settings_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read: No such file or directory"):
        load({"LIFECYCLE_CONFIG": str(tmp_path / "no.toml")})


def test_service_variables_of_kubernetes_are_not_taken_for_settings() -> None:
    environ = {
        "LIFECYCLE_SERVICE_HOST": "10.0.0.1",
        "LIFECYCLE_WORKER_SERVICE_PORT_HTTP": "80",
        "LIFECYCLE_PORT": "tcp://10.0.0.1:80",
        "LIFECYCLE_PORT_80_TCP_ADDR": "10.0.0.1",
    }
    assert load(environ) == Settings()


def test_profiles_topic_is_listed_only_if_profiles_are_published() -> None:
    assert "lifecycle-profiles" not in Settings().topics.values()
    assert "lifecycle-profiles" in Settings(profiles=True).topics.values()
    load({"LIFECYCLE_PROFILES_TOPIC": "orders"})
    with pytest.raises(UserError, match="are both orders"):
        load({"LIFECYCLE_PROFILES_TOPIC": "orders", "LIFECYCLE_PROFILES": "on"})


@pytest.mark.parametrize("key", list(FIELDS))
def test_each_setting_is_described_and_its_texts_read_back(key: str) -> None:
    about, default = FIELDS[key].metadata["about"], FIELDS[key].default
    assert about.help.endswith(".")
    assert about.kind.parse(about.kind.show(default)) == default
    read = getattr(load({PREFIX + key.upper(): about.example}), key)
    if about.kind is values.SECRET:
        assert about.kind.show(read) == "(secret)"
        assert about.example not in repr(load({PREFIX + key.upper(): about.example}))
        return
    assert about.kind.parse(about.kind.show(read)) == read


def test_settings_page_agrees_with_the_table() -> None:
    assert (ROOT / "docs" / "settings.md").read_text() == listing.reference(), "run `make docs`"


def test_listing_shows_values_and_origins() -> None:
    settings, origins = load_with_origins({"LIFECYCLE_LATENESS": "1m"})
    lines = [" ".join(line.split()) for line in listing.current(settings, origins)]
    assert "LIFECYCLE_LATENESS 1m environment" in lines
    assert "LIFECYCLE_MAX_EMIT_DELAY 6h default" in lines
    assert len([line for line in lines if line.startswith(PREFIX)]) == len(dataclasses.fields(Settings))
