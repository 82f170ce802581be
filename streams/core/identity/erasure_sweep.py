"""Removal of erased ids from the aliases of other ids: the owners of a device or a cart, and the devices that showed
it.

An alias that names an erased id may lie on any partition. So each task walks over its records after every request and
at every start, in portions, so that others wait for one portion only. Until a walk is complete, an alias has to be
checked before it is used (`Processor.in_doubt`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from streams.core.identity.aliases import ERASED_OWNER
from streams.core.model.alias import Alias
from streams.core.profile.profile import Profile
from streams.core.store.erasure_markers import NEVER, ErasureMarkers
from streams.core.store.task_state import TaskState, record_key

KEYS_PER_CALL: Final = 2_000
"""Records examined in one call: some 10 ms where each is an alias, or on disk."""
_ALIASED: Final = (b"a", b"k")
"""The first bytes of the keys that may have aliases: those of devices, and of carts and checkouts."""


class ErasureSweep:
    """The walks over one state, and the requests that they cover. Aliases that are learned during a walk are checked
    when they are learned. Owned by the engine."""

    def __init__(self, state: TaskState, position: int) -> None:
        self._state = state
        self.position = position
        """The next offset of the topic of erasure requests: everything before it was handed to the engine."""
        self.done = position
        """Offset of that topic up to which the requests are carried out in all aliases too: may be committed."""
        self._covers = position
        """The position as of the beginning of the present walk: its end completes the requests before that."""
        self._keys: Iterator[bytes] | None = None
        """The rest of the present walk."""

    @property
    def is_complete(self) -> bool:
        """True if all requests that were handed over are carried out."""
        return self.done == self.position

    def advance(self, limit: int) -> bool:
        """Examine at most `limit` records, in a new walk if none is under way. Return True if that ends the walk."""
        if self._keys is None:
            self._keys, self._covers = self._state.walk_keys(), self.position
        if self._state.aliases and not self._examine(self._keys, limit):
            return False
        self._keys, self.done = None, self._covers
        return True

    def _examine(self, keys: Iterator[bytes], limit: int) -> bool:
        state = self._state
        try:
            for _ in range(limit):
                key = next(keys)
                if not key.startswith(_ALIASED):
                    continue
                alias = state.alias_of(key)
                if alias is not None and _names_erased(alias, state.markers):
                    profile = state.get(key)
                    assert profile is not None
                    forget_erased(profile, key, state)
        except StopIteration:
            return True
        return False


def _names_erased(alias: Alias, markers: ErasureMarkers) -> bool:
    """Return True if the alias names an id that was erased after the time at which it entered the alias."""
    owned = [since <= _erased_at(customer, True, markers) for customer, since in alias.owners]
    owned += [at <= _erased_at(customer, True, markers) for customer, at in alias.refused.items()]
    return any(owned) or any([since <= _erased_at(device, False, markers) for device, since in alias.devices])  # noqa: C419


def forget_erased(profile: Profile, key: bytes, state: TaskState) -> None:
    """Remove ids that were erased since from the alias of a profile, if it has one that names any.

    `ERASED_OWNER` takes the place of a customer: late events of that customer's time are skipped, and do not go to the
    previous owner. If the erased customer was the last owner of a device, the device has no owner from the erasure on,
    and events of before are skipped too. An alias of a cart that names nothing any more is deleted.
    """
    alias, markers, deadline, at = profile.alias, state.markers, profile.next_deadline, NEVER
    if alias is None or not _names_erased(alias, markers):
        return
    owners: list[tuple[str, int]] = []
    for customer, since in alias.owners:
        erased_at = _erased_at(customer, True, markers)
        if since > erased_at:
            owners.append((customer, since))
            continue
        at = max(at, erased_at)
        if not owners or owners[-1][0] != ERASED_OWNER:
            owners.append((ERASED_OWNER, since))
    alias.owners = owners
    alias.refused = {
        customer: reported_at
        for customer, reported_at in alias.refused.items()
        if reported_at > _erased_at(customer, True, markers)
    }
    alias.devices = [(device, since) for device, since in alias.devices if since > _erased_at(device, False, markers)]
    of_device = key.startswith(b"a")
    if (
        owners[-1][0] == ERASED_OWNER
        if of_device
        else not alias.devices and all([customer == ERASED_OWNER for customer, _ in owners])  # noqa: C419
    ):
        profile.alias = profile.next_deadline = None
        state.aliases -= 1
        if of_device:
            profile.erased_at = max(profile.erased_at, at)
            markers.set(key, profile.erased_at)
    state.note_change(key, profile, None, (), deadline)


def _erased_at(id_: str, identified: bool, markers: ErasureMarkers) -> int:
    return NEVER if id_ == ERASED_OWNER else markers.erased_at(record_key(id_, identified))
