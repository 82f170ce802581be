"""The partition of a key, by the partitioner of the topics' producers. Computed for every event."""

from __future__ import annotations

import zlib
from typing import Final

from mypy_extensions import i64

_M: Final[i64] = 0x5BD1E995
_32_BITS: Final[i64] = 0xFFFFFFFF


class Partitioner:
    """Assigns keys to the partitions of a topic.

    `murmur2` as in Kafka's Java clients, `crc32` as in librdkafka's `consistent` and `consistent_random`.
    """

    def __init__(self, partitions: int, algorithm: str = "murmur2") -> None:
        self._partitions = partitions
        self._crc32 = algorithm == "crc32"

    def partition(self, key: bytes) -> int:
        """Return the partition of a record with this key."""
        return (zlib.crc32(key) if self._crc32 else _murmur2(key)) % self._partitions


def _murmur2(key: bytes) -> int:
    """Return `org.apache.kafka.common.utils.Utils.toPositive(murmur2(key))` of Kafka's Java clients."""
    length = len(key)
    h: i64 = 0x9747B28C ^ i64(length)
    start = 0
    while start + 4 <= length:
        k: i64 = key[start] | key[start + 1] << 8 | key[start + 2] << 16 | key[start + 3] << 24
        k = (k * _M) & _32_BITS
        k = ((k ^ (k >> 24)) * _M) & _32_BITS
        h = ((h * _M) & _32_BITS) ^ k
        start += 4
    rest = length - start
    if rest:
        if rest == 3:
            h ^= key[start + 2] << 16
        if rest >= 2:
            h ^= key[start + 1] << 8
        h = ((h ^ key[start]) * _M) & _32_BITS
    h = ((h ^ (h >> 13)) * _M) & _32_BITS
    h ^= h >> 15
    return int(h & 0x7FFFFFFF)
