"""The triggers of one customer: what begins them, and their steps. Called by `customer.Lifecycle` only; times in ms."""

from __future__ import annotations

import uuid
import zlib
from collections import Counter
from collections.abc import Collection
from typing import Final

from streams.core.lifecycle.triggers import EARLIEST, LATEST, Trigger, next_yearly
from streams.core.lifecycle.triggers import Datum as Said
from streams.core.model import ids
from streams.core.model.event import CLICKSTREAM_TYPES, ORDER_TYPES, Event, Source
from streams.core.model.outputs import Abandonment, Cause, Datum, Output, StageChange, Triggered
from streams.core.model.triggers import TriggerBook, TriggerRun, TriggerState
from streams.core.profile.profile import Profile
from streams.core.rules.compiler import CompiledRule
from streams.core.rules.dependencies import touched
from streams.core.rules.eval_context import EvalContext

MOST_RUNS: Final = 10
"""Of one trigger at a time: the oldest goes, and a counter tells."""
_RUN_BYTES: Final = 120
_STATE_BYTES: Final = 60
"""What a run, and a trigger that is new to a customer, add to a packed profile beside the texts in them."""
_ORDERS: Final = Source.ORDERS
_COUNT: Final = "count:"
_STAGE: Final = "stage:"


class TriggerRunner:
    """Runs the triggers of a playbook; holds nothing of any customer."""

    def __init__(
        self, triggers: tuple[Trigger, ...], currency: str, namespace: uuid.UUID, cart_types: Collection[str]
    ) -> None:
        self._currency = currency
        self._namespace = namespace
        self._all = triggers
        self._by_name = {trigger.name: trigger for trigger in triggers}
        self._by_event: dict[str, list[Trigger]] = {}
        for trigger in triggers:
            for type_ in trigger.events:
                self._by_event.setdefault(type_, []).append(trigger)
        self._by_stage = [trigger for trigger in triggers if trigger.on_stage is not None]
        self._by_abandonment = [trigger for trigger in triggers if trigger.on_abandonment is not None]
        self._by_time = [trigger for trigger in triggers if trigger.on_time is not None]
        reads = {fact for trigger in self._by_time for fact in _rule(trigger).reads}
        types = (
            CLICKSTREAM_TYPES | ORDER_TYPES | {fact.removeprefix(_COUNT) for fact in reads if fact.startswith(_COUNT)}
        )
        self._moved_by_click = {type_: self._moved(touched(type_, False, cart_types)) for type_ in types}
        self._moved_by_order = {type_: self._moved(touched(type_, True, cart_types)) for type_ in types}
        self._moved_by_any = self._moved(touched("", False, cart_types))
        self._moved_by_stage = [
            trigger for trigger in self._by_time if [fact for fact in _rule(trigger).reads if fact.startswith(_STAGE)]
        ]
        text = "\n".join([f"{trigger.name} {_rule(trigger).text}" for trigger in self._by_time])
        self._tag = zlib.crc32(text.encode())
        self._moment = EvalContext(Profile("", False), None, 0)

    def _moved(self, facts: frozenset[str]) -> list[Trigger]:
        return [trigger for trigger in self._by_time if not facts.isdisjoint(_rule(trigger).reads)]

    # -- what begins one

    def after_event(
        self,
        profile: Profile,
        event: Event,
        active: bool,
        outputs: list[Output],
        since: int,
        counts: Counter[tuple[str, str]],
    ) -> None:
        """An event was applied; `outputs` from `since` on are what came of it."""
        begun = self._by_event.get(event.type)
        if event.source is _ORDERS:
            moved = self._moved_by_order.get(event.type)
        else:
            moved = self._moved_by_click.get(event.type)
        if moved is None:
            moved = self._moved_by_any
        book = profile.triggers
        fresh = bool(self._by_time) and (book is None or book.tag != self._tag)
        if begun is None and not moved and not fresh and len(outputs) == since:
            return
        m = self._moment
        m.profile, m.event, m.active, m.at = profile, event, active, profile.last_seen_at
        came = outputs[since:]
        for trigger in begun or ():
            self._begin(trigger, m, event.at, None, outputs, counts)
        self._follow(m, came, event.at, outputs, counts)
        self._wait(m, self._by_time if fresh else moved, came)

    def after_outputs(
        self, profile: Profile, due: int, outputs: list[Output], since: int, counts: Counter[tuple[str, str]]
    ) -> None:
        """A deadline that is no trigger's fired; `outputs` from `since` on are what came of it."""
        if len(outputs) == since:
            return
        m = self._moment
        m.profile, m.event, m.active, m.at = profile, None, False, max(due, profile.last_seen_at)
        came = outputs[since:]
        self._follow(m, came, m.at, outputs, counts)
        self._wait(m, (), came)

    def after_merge(
        self,
        profile: Profile,
        moved: Profile,
        device: str,
        at: int,
        outputs: list[Output],
        since: int,
        counts: Counter[tuple[str, str]],
    ) -> None:
        """Another profile was merged into this one, with its triggers; `outputs` from `since` on are what came of it.

        What had begun there counts here, for caps and cool-downs, but does not go on: it was about somebody else's id.
        What waits for a time waits for the one that it is now.
        """
        m, book = self._moment, moved.triggers
        m.profile, m.event, m.active, m.at = profile, None, False, max(at, profile.last_seen_at)
        for trigger in self._all:
            other = None if book is None else book.states.get(trigger.name)
            if other is not None and other.last_at is not None:
                state = self._state(profile, trigger)
                state.begun += other.begun
                state.last_at = other.last_at if state.last_at is None else max(state.last_at, other.last_at)
        came = outputs[since:]
        m.merged = device
        self._follow(m, came, m.at, outputs, counts)
        m.merged = None
        self._wait(m, self._by_time, came)

    def due(self, profile: Profile) -> int | None:
        """When the earliest step is due, or a time comes that a trigger waits for; None: never."""
        return None if profile.triggers is None else profile.triggers.due

    def fire(self, profile: Profile, due: int, outputs: list[Output], counts: Counter[tuple[str, str]]) -> bool:
        """Do what is due then, in the playbook's order; whether anything was."""
        book = profile.triggers
        if book is None or book.due != due:
            return False
        m = self._moment
        m.profile, m.event, m.active, m.at = profile, None, False, max(due, profile.last_seen_at)
        for name in [name for name in book.states if name not in self._by_name]:
            del book.states[name]  # the playbook has it no more
        for trigger in self._all:
            state: TriggerState | None = book.states.get(trigger.name)
            if state is None:
                continue
            for run in [run for run in state.runs if run.due <= due]:
                state.runs.remove(run)
                self._step(trigger, state, run, m, m.at, outputs)
            if trigger.on_time is not None and (state.due == due or state.recheck_at == due):
                if state.due == due:
                    self._begin(trigger, m, m.at, None, outputs, counts)
                self._schedule_run(trigger, m)
        self._schedule(profile)
        return True

    def _follow(
        self, m: EvalContext, came: list[Output], at: int, outputs: list[Output], counts: Counter[tuple[str, str]]
    ) -> None:
        for output in came:
            if isinstance(output, StageChange):
                for trigger in self._by_stage:
                    if _is_entered_or_left(trigger, output):
                        self._begin(trigger, m, at, output.id, outputs, counts)
            elif isinstance(output, Abandonment):
                for trigger in self._by_abandonment:
                    if _is_of(trigger, output):
                        self._begin(trigger, m, at, output.abandonment_id, outputs, counts)

    def _begin(
        self,
        trigger: Trigger,
        m: EvalContext,
        at: int,
        output_id: str | None,
        outputs: list[Output],
        counts: Counter[tuple[str, str]],
    ) -> None:
        m.begun_at = at
        if trigger.when is not None and not trigger.when.test(m):
            return
        first = trigger.steps[0]
        if first.after == 0 and trigger.unless is not None and trigger.unless.test(m):
            return
        state = self._state(m.profile, trigger)
        if trigger.cap is not None and state.begun >= trigger.cap:
            return
        last_at: int | None = state.last_at
        if last_at is not None and at - last_at < trigger.cool_down:
            return
        state.begun += 1
        state.last_at = at if last_at is None else max(last_at, at)
        event = m.event
        event_id, event_type = (None, None) if event is None else (event.event_id, event.type)
        run = TriggerRun(at, state.begun, 0, at + first.after, event_id, event_type, output_id)
        m.profile.weight += _RUN_BYTES + (0 if event is None else event.size)
        if first.after == 0:
            self._step(trigger, state, run, m, at, outputs)
        else:
            state.runs.append(run)
        if len(state.runs) > MOST_RUNS:
            del state.runs[0]
            counts["trimmed", "trigger_runs"] += 1
        self._schedule(m.profile)

    # -- steps

    def _step(
        self, trigger: Trigger, state: TriggerState, run: TriggerRun, m: EvalContext, at: int, outputs: list[Output]
    ) -> None:
        """Make the run's next step at `at`, unless it is to end; then it waits for the one after that."""
        m.begun_at = run.begun_at
        if run.step >= len(trigger.steps) or _is_over(trigger, run, m.profile):
            return
        if trigger.unless is not None and trigger.unless.test(m):
            return
        self._tell(trigger, run, m, at, outputs)
        run.step += 1
        if run.step < len(trigger.steps):
            run.due = run.begun_at + trigger.steps[run.step].after
            state.runs.append(run)

    def _tell(self, trigger: Trigger, run: TriggerRun, m: EvalContext, at: int, outputs: list[Output]) -> None:
        profile, event, namespace = m.profile, m.event, self._namespace
        customer, identified, number = profile.customer, profile.identified, run.step + 1
        if m.merged is not None:
            cause = Cause(kind="merge", rule=trigger.name, merged=(m.merged,))
        elif event is None:
            cause = Cause(kind="inactivity", rule=trigger.name, deadline=run.due)
        else:
            cause = Cause(kind="activity", rule=trigger.name, event_id=event.event_id, event_type=event.type)
        bucket = ids.bucket(namespace, identified, customer, trigger.name)
        said = {datum.name: datum for datum in (*trigger.data, *trigger.steps[run.step].data)}
        outputs.append(
            Triggered(
                id=ids.trigger_id(namespace, identified, customer, trigger.name, run.begun_at, run.number, number),
                customer=customer,
                identified=identified,
                subscribed=profile.subscribed,
                trigger=trigger.name,
                occurred_at=at,
                begun_at=run.begun_at,
                number=run.number,
                step=number,
                steps=len(trigger.steps),
                bucket=bucket,
                held_out=bucket < trigger.holdout,
                cause=cause,
                event_id=run.event_id,
                event_type=run.event_type,
                output_id=run.output_id,
                currency=self._currency,
                data=tuple([_datum(datum, m) for datum in said.values()]),
            )
        )

    # -- times that triggers wait for

    def _wait(self, m: EvalContext, moved: Collection[Trigger], came: list[Output]) -> None:
        """Look again when those begin that wait for a time: it may be another one now."""
        again: list[Trigger] = list(moved)
        if self._moved_by_stage and True in [isinstance(output, StageChange) for output in came]:
            again += [one for one in self._moved_by_stage if one not in again]
        if not again:
            return
        if m.profile.triggers is None:
            m.profile.triggers = TriggerBook()
        m.profile.triggers.tag = self._tag
        for trigger in again:
            self._schedule_run(trigger, m)
        self._schedule(m.profile)

    def _schedule_run(self, trigger: Trigger, m: EvalContext) -> None:
        on = trigger.on_time
        assert on is not None
        m.begun_at = -1
        at, due = on.rule.time(m), None
        if at is not None and EARLIEST < at < LATEST:
            if on.yearly:
                due = next_yearly(at, m.at + on.before) - on.before
            elif at - on.before > m.at:
                due = at - on.before
        looks = on.rule.next_change_by_time(m)
        book = m.profile.triggers
        if due is None and looks is None and (book is None or trigger.name not in book.states):
            return
        state = self._state(m.profile, trigger)
        state.due, state.recheck_at = due, looks

    @staticmethod
    def _state(profile: Profile, trigger: Trigger) -> TriggerState:
        book = profile.triggers
        if book is None:
            profile.triggers = book = TriggerBook()
        state: TriggerState | None = book.states.get(trigger.name)
        if state is None:
            book.states[trigger.name] = state = TriggerState()
            profile.weight += _STATE_BYTES + len(trigger.name)
        return state

    @staticmethod
    def _schedule(profile: Profile) -> None:
        book = profile.triggers
        assert book is not None
        earliest: int | None = None
        for state in book.states.values():
            for at in (state.due, state.recheck_at, *[run.due for run in state.runs]):
                if at is not None and (earliest is None or at < earliest):
                    earliest = at
        book.due = earliest


def _rule(trigger: Trigger) -> CompiledRule:
    assert trigger.on_time is not None
    return trigger.on_time.rule


def _is_entered_or_left(trigger: Trigger, change: StageChange) -> bool:
    on = trigger.on_stage
    if on is None or change.track != on.track or change.to_stage is None or change.cause.kind == "playbook":
        return False  # another version of the playbook is nobody's news
    if on.enters is not None and change.to_stage not in on.enters:
        return False
    return on.leaves is None or (change.from_stage is not None and change.from_stage in on.leaves)


def _is_of(trigger: Trigger, abandonment: Abandonment) -> bool:
    on = trigger.on_abandonment
    if on is None or abandonment.type not in on.types or (on.kinds is not None and abandonment.kind not in on.kinds):
        return False
    return on.step is None or abandonment.type != "abandoned" or abandonment.step == on.step


def _is_over(trigger: Trigger, run: TriggerRun, profile: Profile) -> bool:
    """Whether the run followed an abandonment that has since been recovered, retracted, superseded or expired."""
    on, latest = trigger.on_abandonment, profile.latest
    if on is None or "abandoned" not in on.types or len(on.types) > 1:
        return False
    return latest is None or latest.id != run.output_id or not latest.open


def _datum(said: Said, m: EvalContext) -> Datum:
    rule = said.rule
    if rule is not None:
        return Datum(said.name, rule.type.kind, rule.find(m))
    value = said.constant
    if isinstance(value, bool):
        return Datum(said.name, "bool", value)
    return Datum(said.name, "text" if isinstance(value, str) else "number", value)
