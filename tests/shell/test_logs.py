from __future__ import annotations

import json
import logging

import pytest

from streams.settings import Settings
from streams.shell.monitoring.logs import PERSONAL, JsonFormatter, RepeatLimit, to_stderr


def entry(name: str, message: str, level: int = logging.WARNING, *args: object) -> logging.LogRecord:
    return logging.LogRecord(name, level, __file__, 1, message, args, None)


def test_repeated_library_messages_are_logged_rarely_with_their_count() -> None:
    now = 100.0
    calm = RepeatLimit(lambda: now)
    assert calm.filter(entry("aiokafka.client", "Unable to connect to %s", logging.ERROR, "a"))
    assert not any(
        calm.filter(entry("aiokafka.client", "Unable to connect to %s", logging.ERROR, n)) for n in range(57)
    )
    assert calm.filter(entry("aiokafka.client", "Something else"))
    now += 10
    again = entry("aiokafka.client", "Unable to connect to %s", logging.ERROR, "b")
    assert calm.filter(again)
    assert again.getMessage() == "Unable to connect to b (and 57 more like it before)"


def test_faust_service_messages_are_muted_and_own_messages_are_not() -> None:
    calm = RepeatLimit(lambda: 0.0)
    assert not calm.filter(entry("faust.tables", "[^---Recovery]: Resuming flow...", logging.INFO))
    assert not calm.filter(entry("streams.shell.worker.application", "[^-App]: Starting...", logging.INFO))
    assert calm.filter(entry("streams.shell.worker.application", "[^-App]: Crashed reason=…", logging.ERROR))
    for _ in range(3):
        assert calm.filter(entry("streams.shell.worker.application", "Processing partitions %s", logging.INFO, [1]))


def test_ordinary_rebalance_is_no_warning() -> None:
    calm = RepeatLimit(lambda: 0.0)
    of_group = "aiokafka.consumer.group_coordinator"
    assert not calm.filter(
        entry(of_group, "Heartbeat failed for group %s because it is rebalancing", logging.WARNING, "g")
    )
    assert not calm.filter(entry("faust.tables.recovery", "[^---Recovery]: Recovery rebalancing again"))
    assert calm.filter(
        entry(of_group, "Heartbeat failed for group %s: generation id is not  current.", logging.WARNING, "g")
    )


def test_json_is_one_object_per_entry() -> None:
    line = JsonFormatter().format(entry("streams.shell", "a\nb %s", logging.ERROR, "ü"))
    assert "\n" not in line
    said = json.loads(line)
    assert (said["level"], said["logger"], said["message"]) == ("error", "streams.shell", "a\nb ü")


def test_records_sent_and_received_are_not_logged_even_at_debug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)
    loggers = [logging.getLogger(name) for name in PERSONAL]
    before = [logger.level for logger in loggers]
    try:
        to_stderr(Settings(log_level="debug"))
        assert not any(logger.isEnabledFor(logging.DEBUG) for logger in loggers)
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
