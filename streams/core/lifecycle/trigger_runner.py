"""The triggers of one customer: their beginnings and their steps. Only `Lifecycle` calls it; times are in ms."""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Collection
from typing import Final

from streams.core.lifecycle.triggers import EARLIEST, LATEST, DatumDefinition, Trigger, next_yearly
from streams.core.model import ids
from streams.core.model.counters import EngineCounters
from streams.core.model.event import CLICKSTREAM_TYPES, ORDER_TYPES, Event, Source
from streams.core.model.outputs import Abandonment, Cause, Datum, Output, StageChange, Triggered
from streams.core.model.triggers import TriggerBook, TriggerRun, TriggerState
from streams.core.profile.profile import Profile
from streams.core.rules.compiler import CompiledRule
from streams.core.rules.dependencies import touched
from streams.core.rules.eval_context import EvalContext

MOST_RUNS: Final = 10
"""Number of runs of one trigger at a time. Beyond it the oldest is dropped and counted."""
_RUN_BYTES: Final = 120
_STATE_BYTES: Final = 60
"""Most bytes that a run, and a trigger that is new to a customer, add to a packed profile beside their own texts."""
_ORDERS: Final = Source.ORDERS
_COUNT: Final = "count:"
_STAGE: Final = "stage:"


class TriggerRunner:
    """Runs the triggers of a playbook; keeps no state of customers."""

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
        names = {name for trigger in self._by_time for name in _rule(trigger).reads}
        types = (
            CLICKSTREAM_TYPES | ORDER_TYPES | {name.removeprefix(_COUNT) for name in names if name.startswith(_COUNT)}
        )
        self._affected_by_click = {type_: self._affected(touched(type_, False, cart_types)) for type_ in types}
        self._affected_by_order = {type_: self._affected(touched(type_, True, cart_types)) for type_ in types}
        self._affected_by_any = self._affected(touched("", False, cart_types))
        self._affected_by_stage = [
            trigger for trigger in self._by_time if [name for name in _rule(trigger).reads if name.startswith(_STAGE)]
        ]
        text = "\n".join([f"{trigger.name} {_rule(trigger).text}" for trigger in self._by_time])
        self._tag = zlib.crc32(text.encode())
        self._context = EvalContext(Profile("", False), None, 0)

    def _affected(self, names: frozenset[str]) -> list[Trigger]:
        return [trigger for trigger in self._by_time if not names.isdisjoint(_rule(trigger).reads)]

    # -- beginnings

    def after_event(
        self,
        profile: Profile,
        event: Event,
        active: bool,
        outputs: list[Output],
        since: int,
        counts: EngineCounters,
    ) -> None:
        """Begin triggers after an event was applied. `outputs` from `since` on are its outputs."""
        begun = self._by_event.get(event.type)
        if event.source is _ORDERS:
            affected = self._affected_by_order.get(event.type)
        else:
            affected = self._affected_by_click.get(event.type)
        if affected is None:
            affected = self._affected_by_any
        book = profile.triggers
        is_outdated = bool(self._by_time) and (book is None or book.tag != self._tag)
        if begun is None and not affected and not is_outdated and len(outputs) == since:
            return
        context = self._context
        context.profile, context.event, context.active, context.at = profile, event, active, profile.last_seen_at
        caused = outputs[since:]
        for trigger in begun or ():
            self._begin(trigger, context, event.at, None, outputs, counts)
        self._begin_after_outputs(context, caused, event.at, outputs, counts)
        self._reschedule(context, self._by_time if is_outdated else affected, caused)

    def after_outputs(
        self, profile: Profile, due: int, outputs: list[Output], since: int, counts: EngineCounters
    ) -> None:
        """Begin triggers after a deadline fired that is not a trigger's. `outputs` from `since` on are its outputs."""
        if len(outputs) == since:
            return
        context = self._context
        context.profile, context.event, context.active = profile, None, False
        context.at = max(due, profile.last_seen_at)
        caused = outputs[since:]
        self._begin_after_outputs(context, caused, context.at, outputs, counts)
        self._reschedule(context, (), caused)

    def after_merge(
        self,
        profile: Profile,
        moved: Profile,
        device: str,
        at: int,
        outputs: list[Output],
        since: int,
        counts: EngineCounters,
    ) -> None:
        """Begin triggers after another profile was merged into this one. `outputs` from `since` on are its outputs.

        Triggers that had begun in the other profile count here for caps and cool-downs. Their runs end, since they were
        for another id. Triggers that wait for a time are scheduled again by the merged profile.
        """
        context, book = self._context, moved.triggers
        context.profile, context.event, context.active, context.at = profile, None, False, max(at, profile.last_seen_at)
        for trigger in self._all:
            moved_state = None if book is None else book.states.get(trigger.name)
            if moved_state is not None and moved_state.last_at is not None:
                state = self._state(profile, trigger)
                state.begun += moved_state.begun
                state.last_at = (
                    moved_state.last_at if state.last_at is None else max(state.last_at, moved_state.last_at)
                )
        caused = outputs[since:]
        context.merged = device
        self._begin_after_outputs(context, caused, context.at, outputs, counts)
        context.merged = None
        self._reschedule(context, self._by_time, caused)

    def due(self, profile: Profile) -> int | None:
        """Return the earliest time of a step, or of a trigger that waits for a time; None: never."""
        return None if profile.triggers is None else profile.triggers.due

    def fire(self, profile: Profile, due: int, outputs: list[Output], counts: EngineCounters) -> None:
        """Make the steps and begin the triggers that are due at `due`, in the playbook's order."""
        book = profile.triggers
        assert book is not None
        context = self._context
        context.profile, context.event, context.active = profile, None, False
        context.at = max(due, profile.last_seen_at)
        for name in [name for name in book.states if name not in self._by_name]:
            del book.states[name]  # no longer in the playbook
        for trigger in self._all:
            state: TriggerState | None = book.states.get(trigger.name)
            if state is None:
                continue
            for run in [run for run in state.runs if run.due <= due]:
                state.runs.remove(run)
                self._step(trigger, state, run, context, context.at, outputs)
            if trigger.on_time is not None and (state.due == due or state.recheck_at == due):
                if state.due == due:
                    self._begin(trigger, context, context.at, None, outputs, counts)
                self._schedule_run(trigger, context)
        self._update_due(profile)

    def _begin_after_outputs(
        self,
        context: EvalContext,
        caused: list[Output],
        at: int,
        outputs: list[Output],
        counts: EngineCounters,
    ) -> None:
        for output in caused:
            if isinstance(output, StageChange):
                for trigger in self._by_stage:
                    if _is_entered_or_left(trigger, output):
                        self._begin(trigger, context, at, output.id, outputs, counts)
            elif isinstance(output, Abandonment):
                for trigger in self._by_abandonment:
                    if _is_of(trigger, output):
                        self._begin(trigger, context, at, output.abandonment_id, outputs, counts)

    def _begin(
        self,
        trigger: Trigger,
        context: EvalContext,
        at: int,
        output_id: str | None,
        outputs: list[Output],
        counts: EngineCounters,
    ) -> None:
        context.begun_at = at
        if trigger.when is not None and not trigger.when.test(context):
            return
        first = trigger.steps[0]
        if first.after == 0 and trigger.unless is not None and trigger.unless.test(context):
            return
        state = self._state(context.profile, trigger)
        if trigger.cap is not None and state.begun >= trigger.cap:
            return
        last_at: int | None = state.last_at
        if last_at is not None and at - last_at < trigger.cool_down:
            return
        state.begun += 1
        state.last_at = at if last_at is None else max(last_at, at)
        event = context.event
        event_id, event_type = (None, None) if event is None else (event.event_id, event.type)
        run = TriggerRun(at, state.begun, 0, at + first.after, event_id, event_type, output_id)
        context.profile.weight += _RUN_BYTES + (0 if event is None else event.size)
        if first.after == 0:
            self._step(trigger, state, run, context, at, outputs)
        else:
            state.runs.append(run)
        if len(state.runs) > MOST_RUNS:
            del state.runs[0]
            counts["trimmed", "trigger_runs"] += 1
        self._update_due(context.profile)

    # -- steps

    def _step(
        self,
        trigger: Trigger,
        state: TriggerState,
        run: TriggerRun,
        context: EvalContext,
        at: int,
        outputs: list[Output],
    ) -> None:
        """Make the run's next step at `at`, unless the run is over, and keep the run if a further step follows."""
        context.begun_at = run.begun_at
        if run.step >= len(trigger.steps) or _is_over(trigger, run, context.profile):
            return
        if trigger.unless is not None and trigger.unless.test(context):
            return
        self._emit(trigger, run, context, at, outputs)
        run.step += 1
        if run.step < len(trigger.steps):
            run.due = run.begun_at + trigger.steps[run.step].after
            state.runs.append(run)

    def _emit(self, trigger: Trigger, run: TriggerRun, context: EvalContext, at: int, outputs: list[Output]) -> None:
        profile, event, namespace = context.profile, context.event, self._namespace
        customer, identified, number = profile.customer, profile.identified, run.step + 1
        if context.merged is not None:
            cause = Cause(kind="merge", rule=trigger.name, merged=(context.merged,))
        elif event is None:
            cause = Cause(kind="inactivity", rule=trigger.name, deadline=run.due)
        else:
            cause = Cause(kind="activity", rule=trigger.name, event_id=event.event_id, event_type=event.type)
        bucket = ids.bucket(namespace, identified, customer, trigger.name)
        data = {datum.name: datum for datum in (*trigger.data, *trigger.steps[run.step].data)}
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
                data=tuple([_evaluated(datum, context) for datum in data.values()]),
            )
        )

    # -- times that triggers wait for

    def _reschedule(self, context: EvalContext, affected: Collection[Trigger], caused: list[Output]) -> None:
        """Compute again the times of waiting triggers that the event or stage changes in `caused` may have changed."""
        waiting: list[Trigger] = list(affected)
        if self._affected_by_stage and True in [isinstance(output, StageChange) for output in caused]:
            waiting += [trigger for trigger in self._affected_by_stage if trigger not in waiting]
        if not waiting:
            return
        if context.profile.triggers is None:
            context.profile.triggers = TriggerBook()
        context.profile.triggers.tag = self._tag
        for trigger in waiting:
            self._schedule_run(trigger, context)
        self._update_due(context.profile)

    def _schedule_run(self, trigger: Trigger, context: EvalContext) -> None:
        on = trigger.on_time
        assert on is not None
        context.begun_at = -1
        at, due = on.rule.time(context), None
        if at is not None and EARLIEST < at < LATEST:
            if on.yearly:
                due = next_yearly(at, context.at + on.before) - on.before
            elif at - on.before > context.at:
                due = at - on.before
        recheck_at = on.rule.next_change_by_time(context)
        book = context.profile.triggers
        if due is None and recheck_at is None and (book is None or trigger.name not in book.states):
            return
        state = self._state(context.profile, trigger)
        state.due, state.recheck_at = due, recheck_at

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
    def _update_due(profile: Profile) -> None:
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
        return False  # a new version of the playbook moves customers without an event of theirs
    if on.enters is not None and change.to_stage not in on.enters:
        return False
    return on.leaves is None or (change.from_stage is not None and change.from_stage in on.leaves)


def _is_of(trigger: Trigger, abandonment: Abandonment) -> bool:
    on = trigger.on_abandonment
    if on is None or abandonment.type not in on.types or (on.kinds is not None and abandonment.kind not in on.kinds):
        return False
    return on.step is None or abandonment.type != "abandoned" or abandonment.step == on.step


def _is_over(trigger: Trigger, run: TriggerRun, profile: Profile) -> bool:
    """Return True if the abandonment that began the run has been recovered, retracted, superseded or expired."""
    on, latest = trigger.on_abandonment, profile.latest
    if on is None or "abandoned" not in on.types or len(on.types) > 1:
        return False
    return latest is None or latest.id != run.output_id or not latest.open


def _evaluated(datum: DatumDefinition, context: EvalContext) -> Datum:
    rule = datum.rule
    if rule is not None:
        return Datum(datum.name, rule.type.kind, rule.value_in(context))
    value = datum.constant
    if isinstance(value, bool):
        return Datum(datum.name, "bool", value)
    return Datum(datum.name, "text" if isinstance(value, str) else "number", value)
