"""Which partition a key belongs on, as the producers of the input topics see it."""

from __future__ import annotations

import zlib
from collections.abc import Callable

from aiokafka.partitioner import murmur2

from streams.settings import Settings


def partition_of(settings: Settings) -> Callable[[bytes], int]:
    """The partitioner that the settings name.

    murmur2 as in Kafka's Java clients, crc32 as in librdkafka's `consistent` and `consistent_random`.
    """
    count = settings.partitions
    if settings.partitioner == "crc32":
        return lambda key: zlib.crc32(key) % count
    return lambda key: (murmur2(key) & 0x7FFFFFFF) % count
