"""The fields of a record: ids, texts, prices, quantities and lines, read with tolerance where an event can do without.

A sale must not be lost to its decoration. What cannot be read is left out, and counted by the reason.
"""

from __future__ import annotations

from collections import Counter
from typing import Final, Literal

from msgspec import Raw

from streams.contracts import identity, money, records
from streams.contracts.identity import Identifiers
from streams.contracts.rejected import Rejected
from streams.core.model.currencies import PIECE
from streams.core.model.items import Item

MAX_QUANTITY: Final = 1_000_000
"""Largest quantity of an item, or of a product that is added, in pieces."""
MAX_STRING: Final = 1024
"""Most bytes, in UTF-8, of a string that is not an id. A longer one is cut."""
MAX_ITEMS: Final = 10_000
"""Most items of an event. An empty item takes three bytes here, and nine in an internal message, which must fit into a
batch."""

CountName = Literal["identifiers_rejected", "strings_cut", "lines_ignored", "fields_ignored"]
Counts = Counter[tuple[CountName, str]]
"""Increments by (name, label). The labels are those of `LINE_REASONS` and `FIELDS`, else empty."""
LINE_REASONS: Final = ("not_object", "negative_price", "no_quantity")
"""Reasons for leaving out a line of `items`."""
FIELDS: Final = ("price", "quantity", "currency", "items", "category", "channel", "coupon")
"""Fields that count as absent where they cannot be read."""

UNREADABLE: Final = "?"
"""Stands for a quantity or a currency of another type."""
_ABSENT: Final = records.ABSENT
_QUANTITY_PLACES: Final = 3
_LARGEST: Final = MAX_QUANTITY * PIECE
_NUMBER_STARTS: Final = frozenset("-0123456789")
UNREADABLE_QUANTITY: Final = -1
_NEGATIVE_QUANTITY: Final = -2


class FieldReader:
    """Reads the fields of records. `counts` is for metrics."""

    def __init__(self, identifiers: Identifiers) -> None:
        self._identifiers = identifiers
        self.counts: Counts = Counter()

    # -- ids and texts

    def _customer(self, value: str | int | None) -> str | None:
        """Return the id of a customer, None if it is absent or names no one."""
        if value is None:
            return None
        customer = self._identifiers.of_customer(value if isinstance(value, str) else str(value))
        if customer is None:
            self.counts["identifiers_rejected", ""] += 1
        return customer

    def _other(self, value: str | int | None) -> str | None:
        """Return the id of a device, a cart or a checkout, None if it is absent or names none."""
        if value is None:
            return None
        other = self._identifiers.of_other(value if isinstance(value, str) else str(value))
        if other is None:
            self.counts["identifiers_rejected", ""] += 1
        return other

    def _id(self, value: str | int | None) -> str | None:
        """Return another id, None if it is absent, empty or too long."""
        if value is None:
            return None
        identifier = value.strip() if isinstance(value, str) else str(value)
        if 0 < len(identifier) <= identity.ALWAYS_FIT:  # nearly always
            return identifier
        if not identifier:
            return None
        if identity.fits(identifier):
            return identifier
        self.counts["identifiers_rejected", ""] += 1
        return None

    def _string(self, value: str) -> str:
        if len(value) * 4 <= MAX_STRING or len(encoded := value.encode()) <= MAX_STRING:
            return value
        self.counts["strings_cut", ""] += 1
        return encoded[:MAX_STRING].decode(errors="ignore")  # ignores the rest of a character that was cut

    def _optional(self, value: str | None) -> str | None:
        return None if value is None else self._string(value)

    # -- items

    def _items(self, sent: list[records.Item | None], currency: str, snapshot: bool) -> tuple[Item, ...] | None:
        """Return the lines that can be read; None if there are lines, but none that can be read.

        In a `snapshot` of a cart, a line of quantity 0 is read: there is none of it. `currency`: "" if it is not known,
        so that prices are not either.
        """
        if len(sent) > MAX_ITEMS:
            raise Rejected("too_large", f"items: {len(sent)}, more than {MAX_ITEMS}")
        lines: list[Item] = []
        nothing_read = len(sent) > 0
        for item in sent:
            if item is None:
                self.counts["lines_ignored", "not_object"] += 1
                continue
            price: int | None = None
            if item.price is not _ABSENT:
                try:
                    price = money.parse_price(bytes(item.price), currency or "EUR")
                except money.Negative:
                    self.counts["lines_ignored", "negative_price"] += 1
                    continue
                except ValueError:
                    self.counts["fields_ignored", "price"] += 1
            quantity = PIECE if item.quantity is None else read_quantity(item.quantity)
            if quantity == UNREADABLE_QUANTITY:
                self.counts["fields_ignored", "quantity"] += 1
                quantity = PIECE
            if quantity == 0 and snapshot:
                nothing_read = False
            elif quantity <= 0:
                self.counts["lines_ignored", "no_quantity"] += 1
            else:
                nothing_read = False
                lines.append(
                    Item(
                        self._id(item.product_id),
                        self._optional(item.category),
                        price if currency else None,
                        currency,
                        quantity,
                    )
                )
        return None if nothing_read else tuple(lines)

    # -- price and quantity of a click

    def _quantity(self, value: str | int | float, needed: bool) -> int:
        """Return the quantity of a click. One of 0 or less is an error if it is `needed`, since the event changes the
        cart; else it counts as absent, as any that cannot be read."""
        quantity = read_quantity(value)
        if quantity > 0:
            return quantity
        if needed and quantity != UNREADABLE_QUANTITY:
            raise Rejected("invalid_field", "quantity: 0 or less")
        self.counts["fields_ignored", "quantity"] += 1
        return PIECE

    def _exact_price(self, price: Raw, currency: str, needed: bool) -> int | None:
        """Return the price of a click from its text, None if it cannot be read. A negative one is an error if it is
        `needed`, since the event changes the cart."""
        try:
            return money.parse_price(bytes(price), currency)
        except money.Negative:
            if needed:
                raise Rejected("invalid_money", "price: negative") from None
        except ValueError:
            pass
        self.counts["fields_ignored", "price"] += 1
        return None


def read_quantity(value: str | int | float) -> int:
    """Return a quantity in `PIECE`ths; a negative number if it is negative or cannot be read."""
    if isinstance(value, int):
        if value <= 0:
            return 0 if value == 0 else _NEGATIVE_QUANTITY
        return value * PIECE if value <= MAX_QUANTITY else UNREADABLE_QUANTITY
    text = repr(value) if isinstance(value, float) else value.strip()
    if text[:1] not in _NUMBER_STARTS:
        return UNREADABLE_QUANTITY
    try:
        quantity = money.read(text.encode(), _QUANTITY_PLACES)
    except money.Negative:
        return _NEGATIVE_QUANTITY
    except ValueError:
        return UNREADABLE_QUANTITY
    assert quantity is not None
    return quantity if quantity <= _LARGEST else UNREADABLE_QUANTITY
