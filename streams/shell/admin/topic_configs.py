"""Names and configurations of the topics that this program creates."""

from __future__ import annotations

from streams.core.model.policy import DAY, HOUR
from streams.settings import Settings

STATE_TABLE = "profiles"
"""Name of the Faust table of profiles. It is part of the name of the changelog."""

ERASURES_TOPIC = "erasures_topic"
DEAD_LETTERS_TOPIC = "dead_letters_topic"
PROFILES_TOPIC = "profiles_topic"
"""Names of settings: their topics have a configuration of their own."""

DELETES_KEPT = DAY
"""Shortest time for which the changelog keeps the tombstone of a customer, ms."""

REPARTITION_KEPT = 7 * DAY
"""Retention of the repartition topic, ms."""

COMPACTED_WITHIN = 7 * DAY
"""Longest time for which a compacted topic keeps overwritten or deleted records (docs/erasure.md), ms."""

KEPT = {DEAD_LETTERS_TOPIC: 14 * DAY, ERASURES_TOPIC: 7 * DAY}
"""Retention of topics that must not keep ids of persons for longer, ms: time to inspect a dead letter, and time for a
worker to carry out an erasure request."""

TIMESTAMPS = "message.timestamp.type"
APPENDED = "LogAppendTime"


def changelog_topic(settings: Settings) -> str:
    """Return the name of the topic that holds the state. Faust creates it when the first worker starts."""
    return f"{settings.app_id}-{STATE_TABLE}-changelog"


def changelog_configs(settings: Settings) -> dict[str, str]:
    """Return the configuration of the changelog: the table's `extra_topic_configs`.

    Overwritten records stay for an hour, so that recovery can distinguish the record of a stale owner from the right
    one. Append times show the broker's clock, and a worker checks its own clock against them.
    """
    return {
        "cleanup.policy": "compact",
        "min.compaction.lag.ms": str(HOUR),
        "max.compaction.lag.ms": str(COMPACTED_WITHIN),
        "delete.retention.ms": str(DELETES_KEPT),
        TIMESTAMPS: APPENDED,
        **_durability(settings),
    }


def topic_configs(settings: Settings, key: str) -> dict[str, str]:
    """Return the configuration of the topic of a setting.

    Timestamps are the broker's, so that retention counts from arrival also when history is loaded. Dead letters keep
    the timestamp of their record.
    """
    configs = _durability(settings)
    if key != DEAD_LETTERS_TOPIC:
        configs[TIMESTAMPS] = APPENDED
    if key == PROFILES_TOPIC:
        configs |= {"cleanup.policy": "compact", "max.compaction.lag.ms": str(COMPACTED_WITHIN)}
    if key in KEPT:
        configs["retention.ms"] = str(KEPT[key])
    return configs


def repartition_configs(settings: Settings) -> dict[str, str]:
    """Return the configuration of the repartition topic. Records wait there while workers are away."""
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(REPARTITION_KEPT),
        TIMESTAMPS: APPENDED,
        **_durability(settings),
    }


def _durability(settings: Settings) -> dict[str, str]:
    return {"min.insync.replicas": "2"} if settings.replication >= 3 else {}
