"""Batches of records for the producer, used by the outbox and the changelog."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

R = TypeVar("R")


def batches(
    new: Callable[[], Any], records: Iterable[R], append: Callable[[Any, R], object], too_large: Callable[[R], str]
) -> Iterator[tuple[Any, list[R]]]:
    """Return the records in order, in as few batches as hold them: each batch with its records.

    `new` returns an empty batch (`aiokafka.producer.message_accumulator.BatchBuilder`). `append` returns None if the
    record does not fit. Raises ValueError with the text of `too_large` for a record that fits no batch.
    """
    batch: Any = None
    contents: list[R] = []
    for record in records:
        if batch is None or append(batch, record) is None:
            if contents:
                yield batch, contents
            batch, contents = new(), []
            if append(batch, record) is None:
                raise ValueError(too_large(record))
        contents.append(record)
    if contents:
        yield batch, contents
