"""Questions to the cluster about topics, for commands that run without Faust."""

from __future__ import annotations

from aiokafka.admin import AIOKafkaAdminClient


async def partition_counts(admin: AIOKafkaAdminClient) -> dict[str, int]:
    """Return the number of partitions of each topic. Ask for all topics, because a request for one can create it."""
    return {
        topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics() if not topic["error_code"]
    }
