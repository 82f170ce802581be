"""`lifecycle explain`: a playbook as text, Mermaid or SVG, from the tables that the engine runs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from streams.core.lifecycle.playbook import Playbook
from streams.core.lifecycle.tracks import Track
from streams.core.lifecycle.triggers import Trigger
from streams.playbooks.diagram import draw
from streams.playbooks.transition_rows import rows_of
from streams.values import show_duration

NOTE = "solid: after an event, dashed: at a deadline"


def text(playbook: Playbook) -> str:
    """Return the playbook as text: tracks, passive events, abandonment, forgetting, triggers."""
    sections = [
        _tracks(playbook),
        _passive(playbook),
        _abandonment(playbook),
        _forgetting(playbook),
        _triggers(playbook),
    ]
    paragraphs = [f"Playbook {playbook.name}, version {playbook.version}", *("\n".join(lines) for lines in sections)]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph) + "\n"


def _tracks(playbook: Playbook) -> Iterator[str]:
    for number, track in enumerate(playbook.tracks):
        if number:
            yield ""
        yield f"Track {track.name}: a customer begins in the stage {track.initial} and moves to"
        rows = rows_of(track)
        width = max((len(row.target) for row in rows), default=0)
        for row in rows:
            yield f"  {row.target:{width}}  {row.label if row.is_timeout else f'when {row.label}'}"
            yield f"  {'':{width}}    from {_joined(row.sources or ['no stage'], 'or')}"


def _passive(playbook: Playbook) -> Iterator[str]:
    policy = playbook.policy
    yield "Passive, which is no activity:"
    yield f"  events {_joined(sorted(policy.passive_types), 'and')}"
    yield f"  orders of the channels {_joined(sorted(policy.passive_channels), 'and')}, and changes of any order"
    yield "Orders reach clicks that are older, and clicks that are newer"
    yield f"  by up to {show_duration(policy.order_skew_named)}, if they carry the id of the order's cart or checkout"
    yield f"  by up to {show_duration(policy.order_skew_items)}, if they are about a product of the order"


def _abandonment(playbook: Playbook) -> Iterator[str]:
    if not playbook.abandonment:
        return
    policy = playbook.policy
    yield "Abandonment:"
    ladders = {"browse": (), "cart": policy.cart_ladder, "checkout": policy.checkout_ladder}
    windows = {"browse": policy.browse_window, "cart": policy.cart_window, "checkout": policy.checkout_window}
    for kind in policy.precedence:
        steps = (
            f", with further steps after {_joined(map(show_duration, ladders[kind]), 'and')}" if ladders[kind] else ""
        )
        yield f"  A {kind} is abandoned after {show_duration(windows[kind])} without activity{steps}."
    if policy.browse_silent_after_order:
        yield f"  A browse is not abandoned within {show_duration(policy.browse_silent_after_order)} after an order."
    same = "" if policy.cool_down_per_kind else " if its content is the same"
    yield f"  No other of the same or a lower kind follows within {show_duration(policy.cool_down)}{same}."
    yield f"  An order within {show_duration(policy.recovery_window)} after the last step recovers the abandonment."
    yield f"  After {show_duration(policy.expiry)} without activity, the episode expires and the cart is emptied."


def _forgetting(playbook: Playbook) -> Iterator[str]:
    policy = playbook.policy
    yield "Forgetting:"
    for customer, after in (("A known", policy.forget_identified), ("An anonymous", policy.forget_unidentified)):
        when = "never forgotten" if after is None else f"forgotten {show_duration(after)} after the last event"
        yield f"  {customer} customer without any order is {when}."


def _triggers(playbook: Playbook) -> Iterator[str]:
    if playbook.triggers:
        yield "Triggers:"
    for trigger in playbook.triggers:
        yield f"  {trigger.name}"
        for line in _trigger(trigger):
            yield f"    {line}"


def _trigger(trigger: Trigger) -> Iterator[str]:
    if trigger.events:
        yield f"begins at {_joined(sorted(trigger.events), 'or')}"
    if (stage := trigger.on_stage) is not None:
        moves = []
        if stage.leaves is not None:
            moves.append(f"leaves the stage {_joined(sorted(stage.leaves), 'or')}")
        if stage.enters is not None:
            moves.append(f"enters the stage {_joined(sorted(stage.enters), 'or')}")
        yield f"begins when a customer {' and '.join(moves) or 'changes the stage'} of the track {stage.track}"
    if (abandonment := trigger.on_abandonment) is not None:
        kinds = "any" if abandonment.kinds is None else f"a {_joined(sorted(abandonment.kinds), 'or')}"
        step = "" if abandonment.step is None else f", step {abandonment.step}"
        yield f"begins at the output {_joined(sorted(abandonment.types), 'or')} of {kinds} abandonment{step}"
    if (time := trigger.on_time) is not None:
        before = f"{show_duration(time.before)} before" if time.before else "at"
        yield f"begins {'each year ' if time.yearly else ''}{before} {time.rule.text}"
    if trigger.when is not None:
        yield f"only when {trigger.when.text}"
    if trigger.unless is not None:
        yield f"ends when {trigger.unless.text}"
    if len(trigger.steps) > 1:
        steps = (f"after {show_duration(step.after)}" if step.after else "at once" for step in trigger.steps)
        yield f"has steps {_joined(steps, 'and')}"
    elif trigger.steps[0].after:
        yield f"has its step after {show_duration(trigger.steps[0].after)}"
    if trigger.cool_down:
        yield f"does not begin again within {show_duration(trigger.cool_down)}"
    if trigger.cap is not None:
        yield f"begins at most {'once' if trigger.cap == 1 else f'{trigger.cap} times'} for each customer"
    if trigger.holdout:
        yield f"holds out {trigger.holdout} of 100 customers"


def _joined(parts: Iterable[str], conjunction: str) -> str:
    *others, last = parts
    return f"{', '.join(others)} {conjunction} {last}" if others else last


def mermaid(playbook: Playbook) -> str:
    """Return a Mermaid state diagram. Several tracks become one diagram in which each is a composite state."""
    lines = ["stateDiagram-v2"]
    for track in playbook.tracks:
        inner = list(_mermaid(track))
        if len(playbook.tracks) > 1:
            inner = [f'state "{_label(track.name)}" as {_id(track.name)} {{', *(f"    {line}" for line in inner), "}"]
        lines += [f"    {line}" for line in inner]
    return "\n".join(lines) + "\n"


def _mermaid(track: Track) -> Iterator[str]:
    for stage in track.stages:
        yield f'state "{_label(stage)}" as {_id(track.name, stage)}'
    yield f"[*] --> {_id(track.name, track.initial)}"
    for row in rows_of(track):
        for source in row.sources:
            yield f"{_id(track.name, source)} --> {_id(track.name, row.target)}: {_label(row.label)}"


def _id(*names: str) -> str:
    """Return a valid identifier of Mermaid, whatever characters the names have."""
    return "_".join(re.sub(r"\W", lambda found: f"x{ord(found[0]):x}", name) for name in names)


def _label(text: str) -> str:
    """Return the text with the special characters of Mermaid as entities."""
    return re.sub(r"[#;:\"<{}\n]", lambda found: f"#{ord(found[0])};", text)


def svg(playbook: Playbook, track: Track) -> str:
    """Return the SVG diagram of one track."""
    note = f"{playbook.name}, version {playbook.version} · {NOTE}"
    return draw(track.name, note, track.initial, track.stages, rows_of(track))
