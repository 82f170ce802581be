"""Taking who was erased out of what is known of other ids: whose a device or a cart is, and which devices showed it.

That may lie on any partition. So each walks over what it has, in steps that others wait for no longer than for a chunk,
after every request and at every start; until then whoever uses an alias has to look first (`Processor.in_doubt`).
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
"""Records looked at in one: some 10 ms where each is an alias, or on disk."""
_ALIASED: Final = (b"a", b"k")
"""The first bytes of the keys that may have aliases: of devices, and of carts and checkouts."""


class ErasureSweep:
    """One walk over a state. What comes to be known meanwhile is checked where it is learned."""

    def __init__(self, state: TaskState) -> None:
        self._state = state
        self._keys: Iterator[bytes] = state.walk()

    def step(self, most: int = KEYS_PER_CALL) -> bool:
        """Look at so many records at most; whether these were the last."""
        state = self._state
        try:
            for _ in range(most):
                key = next(self._keys)
                if not key.startswith(_ALIASED):
                    continue
                alias = state.alias_of(key)
                if alias is not None and _knows_erased(alias, state.markers):
                    profile = state.get(key)
                    assert profile is not None
                    forget_erased(profile, key, state)
        except StopIteration:
            return True
        return False


def _knows_erased(alias: Alias, marks: ErasureMarkers) -> bool:
    """Whether it names somebody from before their erasure."""
    owned = [since <= _erased_at(customer, True, marks) for customer, since in alias.owners]
    owned += [at <= _erased_at(customer, True, marks) for customer, at in alias.refused.items()]
    return any(owned) or any([since <= _erased_at(device, False, marks) for device, since in alias.devices])  # noqa: C419


def forget_erased(profile: Profile, key: bytes, state: TaskState) -> None:
    """Take whoever was erased since out of a profile's alias, if it is one and names them.

    In the place of a customer stays nobody: what comes late of their time is passed over, and not given to who had the
    device before. Where they had it last, it is a stranger's again from their erasure on, and what comes of before is
    passed over too. A cart that nobody is known of any more is forgotten.
    """
    alias, marks, deadline, at = profile.alias, state.markers, profile.next_deadline, NEVER
    if alias is None or not _knows_erased(alias, marks):
        return
    owners: list[tuple[str, int]] = []
    for customer, since in alias.owners:
        erased_at = _erased_at(customer, True, marks)
        if since > erased_at:
            owners.append((customer, since))
            continue
        at = max(at, erased_at)
        if not owners or owners[-1][0] != ERASED_OWNER:
            owners.append((ERASED_OWNER, since))
    alias.owners = owners
    alias.refused = {one: told_at for one, told_at in alias.refused.items() if told_at > _erased_at(one, True, marks)}
    alias.devices = [(device, since) for device, since in alias.devices if since > _erased_at(device, False, marks)]
    of_device = key.startswith(b"a")
    if (
        owners[-1][0] == ERASED_OWNER
        if of_device
        else not alias.devices and all([one == ERASED_OWNER for one, _ in owners])  # noqa: C419
    ):
        profile.alias = profile.next_deadline = None
        state.aliases -= 1
        if of_device:
            profile.erased_at = max(profile.erased_at, at)
            marks.set(key, profile.erased_at)
    state.note_change(key, profile, None, (), deadline)


def _erased_at(id_: str, identified: bool, marks: ErasureMarkers) -> int:
    return NEVER if id_ == ERASED_OWNER else marks.erased_at(record_key(id_, identified))
