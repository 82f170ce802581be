"""The deadlines of one customer as a table: when each is due, and what fires then.

`Lifecycle` schedules by the earliest `due` of the table and fires the first entry that is due, so an entry's reason is
known when it fires. The order of the table decides between deadlines of the same time. Times in ms.
"""

from __future__ import annotations

from streams.core.lifecycle.abandonment import Abandonments
from streams.core.lifecycle.playbook import Playbook
from streams.core.lifecycle.stages import Stages
from streams.core.lifecycle.trigger_runner import TriggerRunner
from streams.core.model.counters import EngineCounters
from streams.core.model.outputs import Cause, Output
from streams.core.profile.profile import Profile


class Deadline:
    """A reason why something becomes due for a customer. Holds no state of any customer."""

    followed_up: bool = True
    """True if triggers follow up its outputs."""

    def due(self, profile: Profile) -> int | None:
        """Return when it is due for the profile as it is now; None if never. Called after every event."""
        raise NotImplementedError

    def fire(self, profile: Profile, due: int, outputs: list[Output], counts: EngineCounters) -> None:
        """Do what is due at `due`, which is the time that method `due` returns."""
        raise NotImplementedError


def deadlines_of(
    playbook: Playbook, abandonments: Abandonments, stages: Stages, triggers: TriggerRunner | None
) -> list[Deadline]:
    """Return the deadlines that the playbook can have, in the order in which those of the same time fire."""
    policy, table = playbook.policy, list[Deadline]()
    if playbook.abandonment:
        table += [_AbandonmentStep(abandonments), _Expiry(abandonments, stages)]
    if stages.has_deadlines:
        table.append(_StageDeadline(stages))
    if policy.forget_identified is not None or policy.forget_unidentified is not None:
        table.append(_Forgetting(policy.forget_identified, policy.forget_unidentified, stages))
    if triggers is not None:
        table.append(_TriggerDeadline(triggers))
    return table


class _AbandonmentStep(Deadline):
    """Step 1 of an abandonment, or a further step of the latest one."""

    def __init__(self, abandonments: Abandonments) -> None:
        self._abandonments = abandonments

    def due(self, profile: Profile) -> int | None:
        return self._abandonments.step_due(profile)

    def fire(self, profile: Profile, due: int, outputs: list[Output], counts: EngineCounters) -> None:
        self._abandonments.fire_step(profile, due, outputs)


class _Expiry(Deadline):
    """The end of an episode and of the cart after a long silence."""

    def __init__(self, abandonments: Abandonments, stages: Stages) -> None:
        self._abandonments = abandonments
        self._stages = stages

    def due(self, profile: Profile) -> int | None:
        return self._abandonments.expiry_due(profile)

    def fire(self, profile: Profile, due: int, outputs: list[Output], counts: EngineCounters) -> None:
        self._abandonments.fire_expiry(profile, due, outputs)
        self._stages.cart_expired(profile, due, outputs)


class _StageDeadline(Deadline):
    """A timeout transition of any track, or the time at which time alone may change a rule of a transition."""

    def __init__(self, stages: Stages) -> None:
        self._stages = stages

    def due(self, profile: Profile) -> int | None:
        return self._stages.due(profile)

    def fire(self, profile: Profile, due: int, outputs: list[Output], counts: EngineCounters) -> None:
        self._stages.fire(profile, due, outputs)


class _Forgetting(Deadline):
    """The end of the profile of a customer who never had an order. Leaves the profile in no stage."""

    def __init__(self, identified: int | None, unidentified: int | None, stages: Stages) -> None:
        self._identified = identified
        self._unidentified = unidentified
        self._stages = stages

    def due(self, profile: Profile) -> int | None:
        if profile.currency is not None:  # there was an order, even if it no longer counts
            return None
        after = self._identified if profile.identified else self._unidentified
        return None if after is None else profile.last_seen_at + after

    def fire(self, profile: Profile, due: int, outputs: list[Output], counts: EngineCounters) -> None:
        cause = Cause(kind="forgotten", deadline=due)
        self._stages.end(profile, max(due, profile.last_seen_at), cause, outputs)


class _TriggerDeadline(Deadline):
    """A step of a trigger, or a time that a trigger waits for."""

    followed_up: bool = False

    def __init__(self, triggers: TriggerRunner) -> None:
        self._triggers = triggers

    def due(self, profile: Profile) -> int | None:
        return self._triggers.due(profile)

    def fire(self, profile: Profile, due: int, outputs: list[Output], counts: EngineCounters) -> None:
        self._triggers.fire(profile, due, outputs, counts)
