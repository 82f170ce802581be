"""Objects of other layers, made from the settings: the playbook, decoders, properties of sources, the erasure salt."""

from __future__ import annotations

import hashlib
from pathlib import Path

from streams import playbooks
from streams.contracts.identity import Identifiers, changed_placeholders
from streams.contracts.native import Decoder
from streams.core.lifecycle.playbook import Playbook
from streams.core.model.event import Source
from streams.core.model.policy import Policy
from streams.core.model.sources import SourceSpec
from streams.settings import Settings


def load_playbook(settings: Settings, source: str | Path | None = None) -> Playbook:
    """Return the playbook of the settings, or of another path or name, with the numbers of the settings in it.

    Reads its file. Raises `UserError` if it cannot be used.
    """
    policy = Policy(
        currency=settings.currency,
        lateness=settings.lateness,
        device_expiry=settings.device_expiry,
        cart_id_expiry=settings.cart_id_expiry,
    )
    return playbooks.load(settings.playbook if source is None else source, policy)


def decoders(settings: Settings, playbook: Playbook) -> dict[Source, Decoder]:
    """Return a decoder for each source, with the currency and the properties of the playbook."""
    return {
        source: Decoder(
            source,
            topic,
            default_currency=playbook.policy.currency,
            max_future_skew=settings.max_future_skew,
            properties=playbook.properties,
            identity_resolution=settings.identity_resolution,
            identifiers=identifiers(settings),
        )
        for source, topic in settings.source_topics.items()
    }


def identifiers(settings: Settings) -> Identifiers:
    """Return the rules by which ids are read."""
    return Identifiers(changed_placeholders(settings.id_placeholders), settings.id_case == "fold")


def source_specs(settings: Settings) -> dict[Source, SourceSpec]:
    """Return the delay and the backfill idle time of each source."""
    return {
        Source.CLICKSTREAM: SourceSpec(delay=settings.clickstream_delay, backfill_idle=settings.backfill_idle),
        Source.ORDERS: SourceSpec(delay=settings.orders_delay, backfill_idle=settings.backfill_idle),
    }


def marker_salt(settings: Settings) -> bytes:
    """Return the key of the hashes in erasure markers (`streams.core.store.erasure_markers`)."""
    salt = f"{settings.id_namespace}" if settings.erasure_salt is None else settings.erasure_salt
    return hashlib.blake2b(salt.encode(), digest_size=32, person=b"erasure").digest()
