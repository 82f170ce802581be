"""Dead letters of rejected records, with the headers that Kafka Streams gives its dead letters."""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple

from streams.contracts.outputs import Headers
from streams.contracts.rejected import Rejected

PREFIX: Final = "__streams.errors."
MAX_KEY: Final = 1024
"""Most bytes of the key of a dead letter that has to be cut."""

_OVERHEAD: Final = 256
"""Upper bound of the bytes of batch and record beside key, value and headers."""
_HEADER_OVERHEAD: Final = 10


class DeadLetter(NamedTuple):
    """A rejected record with its own key, value and timestamp (ms). Its headers have the reason and its place."""

    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: Headers


def dead_letter(
    rejected: Rejected,
    *,
    key: bytes | None,
    value: bytes | None,
    timestamp: int,
    topic: str,
    partition: int,
    offset: int,
    max_bytes: int = 1_000_000,
) -> DeadLetter:
    """Return the dead letter of a record, for the shell and the replay to write.

    `max_bytes`: the largest record that the topic takes (`max.message.bytes`; its default is 1,048,588) and the
    producer sends. A record that does not fit is cut: the beginning of the value, and of a key beyond MAX_KEY, is kept.
    Then the headers `size` and `sha256` are those of the whole value, so that it can be found at its source.
    """
    headers = [
        (f"{PREFIX}{name}", text.encode())
        for name, text in (
            ("exception", f"{type(rejected).__module__}.{type(rejected).__qualname__}"),
            ("message", rejected.detail),
            ("topic", topic),
            ("partition", str(partition)),
            ("offset", str(offset)),
            ("reason", rejected.reason),
        )
    ]
    if _size(key, value, headers) > max_bytes:
        whole = value or b""
        headers.append((f"{PREFIX}size", str(len(whole)).encode()))
        headers.append((f"{PREFIX}sha256", hashlib.sha256(whole).hexdigest().encode()))
        key = key and key[:MAX_KEY]
        value = value and value[: max(0, max_bytes - _size(key, None, headers))]
    return DeadLetter(key, value, timestamp, headers)


def _size(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """Return an upper bound of the bytes of the record in a batch of its own."""
    in_headers = sum(len(name) + len(content) + _HEADER_OVERHEAD for name, content in headers)
    return len(key or b"") + len(value or b"") + in_headers + _OVERHEAD
