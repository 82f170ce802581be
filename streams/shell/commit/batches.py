"""Records in batches, as the producer takes them: for the outbox and for the changelog."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

R = TypeVar("R")


def batches(
    new: Callable[[], Any], records: Iterable[R], append: Callable[[Any, R], object], too_large: Callable[[R], str]
) -> Iterator[tuple[Any, list[R]]]:
    """The records in as few batches as hold them, in their order, each batch with what is in it.

    `new` makes an empty batch (`aiokafka.producer.message_accumulator.BatchBuilder`), `append` returns None if the
    record does not go in. Raises ValueError with what `too_large` says of a record that no batch holds.
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
